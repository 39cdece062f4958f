package slideloop

import com.google.gson.JsonParseException
import groovy.transform.CompileStatic
import qupath.lib.images.ImageData
import qupath.lib.projects.Project
import qupath.lib.projects.ProjectIO
import qupath.lib.projects.ProjectImageEntry

import java.awt.image.BufferedImage
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.StandardOpenOption
import java.util.function.Consumer
import java.util.function.Predicate
import java.util.function.Supplier

/**
 * Predicts the images of a project by a study, and imports the masks; without windows, one image after
 * the other. An image that fails keeps no other from its turn. QuPath itself ends with 0 whatever
 * happened: that all went well is said by a file, `RESULT.done`, which is there only then.
 *
 * The settings are a file of JSON: `project` (a .qpproj file or its folder) and `study` (its id); and as
 * wanted `server` (address), `token_file` (else the environment's SLIDELOOP_TOKEN), `images` (names or
 * ids), `as` (one of MaskImport.KINDS), `classes`, `threshold`, `replace`, `discard_edits`, `force`,
 * `result` (a file; else beside the settings, which gets a line of JSON per image). Paths are taken from
 * the folder of the settings.
 */
@CompileStatic
final class ProjectRun {

    private static final Set<String> KNOWN = ['project', 'study', 'server', 'token_file', 'images', 'as', 'classes', 'threshold',
                                              'replace', 'discard_edits', 'force', 'result'] as Set<String>
    private static final String TOKEN = 'SLIDELOOP_TOKEN'
    private static final int WAIT_S = 30

    private final Map<String, Object> settings
    private final Path folder
    private final Path result
    private final Server server
    private final String studyId

    private ProjectRun(Path file) {
        settings = read(file)
        folder = file.toAbsolutePath().parent
        result = settings['result'] == null ?
            file.resolveSibling("${file.fileName.toString().replaceFirst(/\.json$/, '')}-result.ndjson".toString()) : at('result')
        studyId = settings['study'] as String
        String token = settings['token_file'] == null ? System.getenv(TOKEN) : tokenIn(at('token_file'))
        server = new Server(settings['server'] as String ?: 'http://127.0.0.1:8765', { token } as Supplier<String>)
    }

    /**
     * Go through a project; what became of each image is printed, and written to the result.
     *
     * @param settings see above
     * @throws IllegalStateException if nothing can be done at all: QuPath then ends with 1
     */
    static void start(File settings) {
        try {
            ProjectRun run = new ProjectRun(settings.toPath())
            Files.deleteIfExists(run.done())
            Files.writeString(run.result, '')
            run.all()
        } catch (Problem problem) {
            // Its causes would hide the sentence from who reads QuPath's log.
            IllegalStateException said = new IllegalStateException("slideloop: ${problem.message}".toString())
            said.stackTrace = new StackTraceElement[0]
            throw said
        }
    }

    private Path done() {
        result.resolveSibling("${result.fileName}.done".toString())
    }

    private void all() {
        loadOpenSlide()
        Project<BufferedImage> project = opened()
        Path home = project.path.toAbsolutePath().parent
        ProjectState.requireClosed(home, settings['force'] as boolean)
        Map<String, Object> study = (Map<String, Object>) server.get("/studies/${Server.segment(studyId)}")
        String known = ((List<String>) study['slides'])[0]
        Map<String, Object> slide = (Map<String, Object>) server.get("/slides/${Server.segment(known)}")
        List<ProjectImageEntry<BufferedImage>> entries = wanted(project)
        ImportCopies copies = new ImportCopies(home)
        int nFailed = 0
        entries.each { ProjectImageEntry<BufferedImage> entry ->
            Map<String, Object> row = [entry: entry.getID(), image: entry.imageName] as Map<String, Object>
            try {
                row.putAll(one(project, entry, study, slide, copies))
            } catch (Problem problem) {
                row.putAll([code: problem.code, problem: problem.message])
            } catch (Exception err) {
                // Whatever a reader or a file does: the other images are no worse for it.
                row.putAll([code: 'failed', problem: "${err.class.simpleName}: ${err.message}".toString()])
            }
            nFailed += row.containsKey('problem') ? 1 : 0
            tell(row)
        }
        if (nFailed == 0) {
            Files.writeString(done(), "${entries.size()} images\n".toString())
        }
        println "${entries.size() - nFailed} of ${entries.size()} images were done or skipped: ${result}"
    }

    private Map<String, Object> one(Project<BufferedImage> project, ProjectImageEntry<BufferedImage> entry,
                                    Map<String, Object> study, Map<String, Object> known, ImportCopies copies) {
        Path data = entry.entryPath.resolve(ImportCopies.DATA)
        ProjectState.requireWhole(data)
        ImageData<BufferedImage> imageData = entry.readImageData()
        try {
            String skipped = ImageFacts.refusalOf(imageData)
            if (skipped != null) {
                return [skipped: skipped] as Map<String, Object>
            }
            String slide = indexed(imageData, StudyGrid.like(known, ImageFacts.mpp(imageData.server)))
            settle((Map<String, Object>) server.send('POST', "/studies/${Server.segment(studyId)}/predictions",
                [slides: [slide], event_id: UUID.randomUUID().toString()]))
            MaskImport mask = new MaskImport(server, study, slide, imageData, Temporary.&isTemporary as Predicate)
            Double threshold = settings['threshold'] == null ? null : ((Number) settings['threshold']).doubleValue()
            List<MaskFeature> features = mask.fetch(settings['as'] as String ?: MaskImport.KINDS[0],
                (List<String>) settings['classes'] ?: [], threshold)
            boolean discard = settings['discard_edits'] as boolean, replace = discard || settings['replace'] as boolean
            ImportPlan plan = mask.plan(features, discard)
            if (plan.replacing && !replace) {
                return [skipped: 'It has objects of this study already; "replace": true replaces them.'] as Map<String, Object>
            }
            copies.keep(entry.getID(), data)
            mask.steps(plan, replace).each { Runnable it -> it.run() }
            mask.save(project)
            copies.note(entry.getID(), data)
            return [n_added: plan.added.size(), n_removed: plan.removed().size(), n_edited_kept: discard ? 0 : plan.edited.size(),
                    n_after: plan.nAfter()] as Map<String, Object>
        } finally {
            imageData.server.close()
        }
    }

    /** Opens an image's slide at the server, and waits until it is indexed. */
    private String indexed(ImageData<BufferedImage> imageData, Map<String, Object> options) {
        Map<String, Object> answer = (Map<String, Object>) server.send('POST', '/slides', ImageFacts.of(imageData.server) + options)
        settle(answer)
        ((Map<String, Object>) answer['slide'])['id'] as String
    }

    private void settle(Map<String, Object> answer) {
        Jobs.settle(server, answer, WAIT_S, { Map<String, Object> job -> } as Consumer<Map<String, Object>>)
    }

    private Project<BufferedImage> opened() {
        Path path = at('project')
        File file = (Files.isDirectory(path) ? path.resolve('project.qpproj') : path).toFile()
        if (!file.isFile()) {
            throw new Problem('file_not_found', 0, "There is no project ${file}.", 'Give its .qpproj file, or the folder of it.', false)
        }
        ProjectIO.loadProject(file, BufferedImage)
    }

    private List<ProjectImageEntry<BufferedImage>> wanted(Project<BufferedImage> project) {
        List<String> names = (List<String>) settings['images']
        List<ProjectImageEntry<BufferedImage>> all = project.imageList
        Set<String> there = (all*.imageName + all*.getID()) as Set<String>
        List<String> unknown = (names ?: []).findAll { String it -> !there.contains(it) }
        if (unknown) {
            throw new Problem('invalid', 0, "The project has no images ${unknown.join(', ')}.", 'Give their names or ids as QuPath has them.', false)
        }
        names == null ? all : all.findAll { ProjectImageEntry it -> it.imageName in names || it.getID() in names } as
            List<ProjectImageEntry<BufferedImage>>
    }

    private void tell(Map<String, Object> row) {
        Files.writeString(result, "${Json.write(row)}\n".toString(), StandardOpenOption.APPEND)
        String what = row['problem'] != null ? "failed. ${row['problem']}" : row['skipped'] != null ? "skipped. ${row['skipped']}" :
            "${row['n_added']} objects added, ${row['n_removed']} removed; ${row['n_after']} now"
        println "${row['image']}: ${what}"
    }

    private Path at(String name) {
        folder.resolve(settings[name] as String)
    }

    private static String tokenIn(Path file) {
        try {
            return Files.readString(file).trim()
        } catch (IOException ignored) {
            throw new Problem('file_not_found', 0, "The token's file ${file} cannot be read.", 'Give the file that the server wrote.', false)
        }
    }

    private static Map<String, Object> read(Path file) {
        Object found
        try {
            found = Json.read(Files.readString(file))
        } catch (IOException ignored) {
            throw new Problem('file_not_found', 0, "The settings ${file} cannot be read.", 'Give a file of JSON in UTF-8.', false)
        } catch (JsonParseException ignored) {
            throw new Problem('invalid', 0, "The settings ${file} are not JSON.", 'In paths, write / or two backslashes for each.', false)
        }
        Map<String, Object> given = found instanceof Map ? (Map<String, Object>) found : (Map<String, Object>) [:]
        List<String> unknown = given.keySet().findAll { String it -> !KNOWN.contains(it) } as List<String>
        List<String> lacking = ['project', 'study'].findAll { String it -> !(given[it] instanceof String) }
        if (unknown || lacking) {
            String what = unknown ? "has ${unknown.join(', ')}, which is no setting" : "lacks ${lacking.join(' and ')}"
            throw new Problem('invalid', 0, "${file} ${what}.", "There are ${KNOWN.join(', ')}.", false)
        }
        given
    }

    /** QuPath 0.5 reads slides by OpenSlide only where its window, or somebody, has loaded it. */
    private static void loadOpenSlide() {
        try {
            Class<?> loader = Class.forName('qupath.lib.images.servers.openslide.jna.OpenSlideLoader')
            loader.getMethod('tryToLoadQuietly', String[]).invoke(null, [[''] as String[]] as Object[])
        } catch (ReflectiveOperationException ignored) {
            // A QuPath without it reads slides by Bio-Formats.
        }
    }
}
