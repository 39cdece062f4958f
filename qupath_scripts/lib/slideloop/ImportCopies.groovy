package slideloop

import groovy.transform.CompileStatic

import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.StandardCopyOption
import java.security.MessageDigest
import java.time.LocalDateTime
import java.time.format.DateTimeFormatter

/**
 * Copies of what an import replaces, in the project's folder `slideloop`, laid out so that
 * `slideloop project restore` puts them back.
 */
@CompileStatic
final class ImportCopies {

    /** An image's objects, within the folder of its entry. */
    static final String DATA = 'data.qpdata'
    private static final List<String> FILES = [DATA, 'summary.json'].asImmutable()

    private final Path folder
    private final Map<String, Map<String, String>> changes = [:]

    /** @param project its folder; nothing is made in it before there is something to keep */
    ImportCopies(Path project) {
        String stamp = LocalDateTime.now().format(DateTimeFormatter.ofPattern('yyyy-MM-dd-HHmmss'))
        folder = project.resolve('slideloop').resolve("${stamp}-import".toString())
    }

    /** Copies an image's data as it is. */
    void keep(String entry, Path data) {
        Path kept = folder.resolve('data').resolve(entry)
        Files.createDirectories(kept)
        FILES.each { String name ->
            Path file = data.resolveSibling(name)
            if (Files.exists(file)) {
                Files.copy(file, kept.resolve(name), StandardCopyOption.COPY_ATTRIBUTES, StandardCopyOption.REPLACE_EXISTING)
            }
        }
        changes[entry] = [before: digest(kept.resolve(DATA)), after: (String) null]
    }

    /** Notes what became of it. */
    void note(String entry, Path data) {
        changes[entry]['after'] = digest(data)
        Path notes = folder.resolve('import.json'), unfinished = folder.resolve('import.json.unfinished')
        Files.writeString(unfinished, Json.write([changes: changes.findAll { String id, Map<String, String> it -> it['after'] != null }]))
        Files.move(unfinished, notes, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING)
    }

    private static String digest(Path file) {
        Files.exists(file) ? MessageDigest.getInstance('SHA-256').digest(Files.readAllBytes(file)).encodeHex().toString() : null
    }
}
