package slideloop

import groovy.transform.CompileStatic
import groovy.transform.PackageScope

import java.nio.ByteBuffer
import java.nio.channels.FileChannel
import java.nio.channels.FileLock
import java.nio.channels.OverlappingFileLockException
import java.nio.charset.StandardCharsets
import java.nio.file.AtomicMoveNotSupportedException
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.StandardCopyOption
import java.nio.file.StandardOpenOption

/**
 * The outbox on the disk: a log of JSON lines that survives a power cut after every `write`.
 *
 * A line says what became of an entry: {"add": entry}, {"gone": id}, {"refused": id, "problem": ..},
 * {"again": id}; the first names the {"server": address}. Owns the files and their order on the disk;
 * knows nothing of HTTP. Not safe from several threads: the outbox has one for it.
 */
@CompileStatic
@PackageScope
final class Spool implements Closeable {

    private static final String LOG = 'spool.jsonl'
    private static final String UNFINISHED = 'spool.new'
    private static final int COMPACT_AT_BYTES = 256 * 1024
    private static final boolean IS_WINDOWS = System.getProperty('os.name').startsWith('Windows')

    /** Entries not acknowledged, by event id, in the order to be sent: as the disk has them. */
    final Map<String, Map<String, Object>> waiting = new LinkedHashMap<>()
    /** Entries refused, by event id: {entry, problem}, both as maps. */
    final Map<String, Map<String, Object>> refused = new LinkedHashMap<>()
    /** How many lines could not be read and were set aside when it was opened. */
    int nSetAside

    private final Path folder
    private final String server
    private final FileChannel lockFile
    private FileChannel log
    private long tidySize
    private boolean isDamaged

    /**
     * Opens a spool, and makes it where there is none.
     *
     * @param server address of whom it is for
     * @throws Problem `outbox_in_use` if another process or another part of this one has it open,
     *     `outbox_unusable` if the folder cannot be read or written
     */
    Spool(Path folder, String server) {
        this.folder = folder
        this.server = server
        FileChannel taken = null
        try {
            makeFolder(folder)
            taken = lock()
            lockFile = taken
            load()
        } catch (IOException err) {
            taken?.close()
            throw unusable(err)
        }
    }

    /**
     * Writes lines in their order; on return they are on the disk itself.
     *
     * @throws Problem `outbox_unusable` if they are not; the next `write` tries them again, too
     */
    void write(List<Map<String, Object>> lines) {
        lines.each { Map<String, Object> line -> fold(line, waiting, refused) }
        try {
            if (isDamaged || log.size() > COMPACT_AT_BYTES + 2 * tidySize) {
                compact()
                return
            }
            isDamaged = true
            append(log, lines)
            isDamaged = false
        } catch (IOException | RuntimeException err) {
            throw unusable(err)
        }
    }

    /** Returns {server, waiting, refused} of a folder, whoever has it open: address and numbers. */
    static Map<String, Object> peek(Path folder) {
        Map<String, Map<String, Object>> waiting = new LinkedHashMap<>(), refused = new LinkedHashMap<>()
        String server = null
        try {
            byte[] bytes = Files.readAllBytes(folder.resolve(LOG))
            read(bytes, waiting, refused)
            server = ((Map) Json.read(new String(linesOf(bytes)[0], StandardCharsets.UTF_8)))['server']
        } catch (IOException | RuntimeException ignored) {
            // No folder of an outbox, or a damaged one: opening it will tell.
        }
        [server: server, waiting: waiting.size(), refused: refused.size()] as Map<String, Object>
    }

    @Override
    void close() {
        log?.close()
        lockFile.close()
    }

    private FileChannel lock() {
        FileChannel file = FileChannel.open(folder.resolve('lock'), StandardOpenOption.CREATE, StandardOpenOption.WRITE)
        FileLock lock = null
        try {
            lock = file.tryLock()
        } catch (OverlappingFileLockException ignored) {
            // Held by this process: the same to whoever asks.
        } finally {
            if (lock == null) {
                file.close()
            }
        }
        if (lock == null) {
            throw new Problem('outbox_in_use', 0, 'Another QuPath of yours is reviewing with this server.',
                'Close it, or go on there: labels are sent by one QuPath at a time, so that their order holds.', false)
        }
        file
    }

    /** Reads the log; what cannot be read is set aside, and never takes another line with it. */
    private void load() {
        Path path = folder.resolve(LOG)
        byte[] bytes = Files.exists(path) ? Files.readAllBytes(path) : new byte[0]
        boolean isTidy = bytes.length > 0 && bytes[bytes.length - 1] == (byte) 10
        List<byte[]> unread = read(bytes, waiting, refused)
        if (unread) {
            setAside(unread)
        }
        if (unread || !isTidy || bytes.length > COMPACT_AT_BYTES || !(waiting || refused)) {
            compact()
        } else {
            log = FileChannel.open(path, StandardOpenOption.WRITE, StandardOpenOption.APPEND)
        }
    }

    /** Folds all lines that can be read, and returns the others. */
    private static List<byte[]> read(byte[] bytes, Map<String, Map<String, Object>> waiting, Map<String, Map<String, Object>> refused) {
        List<byte[]> unread = []
        for (byte[] line : linesOf(bytes)) {
            try {
                fold((Map<String, Object>) Json.read(new String(line, StandardCharsets.UTF_8)), waiting, refused)
            } catch (RuntimeException ignored) {
                unread << line
            }
        }
        unread
    }

    private static void fold(Map<String, Object> line, Map<String, Map<String, Object>> waiting, Map<String, Map<String, Object>> refused) {
        if (line.containsKey('server')) {
            return
        }
        if (line.containsKey('add')) {
            Map<String, Object> entry = (Map<String, Object>) line['add']
            waiting[Objects.requireNonNull(entry['event_id']) as String] = entry
        } else if (line.containsKey('gone')) {
            waiting.remove(line['gone'] as String)
            refused.remove(line['gone'] as String)
        } else if (line.containsKey('refused')) {
            String id = line['refused'] as String
            refused[id] = [entry: Objects.requireNonNull(waiting[id]), problem: line['problem']] as Map<String, Object>
            waiting.remove(id)
        } else if (line.containsKey('again')) {
            String id = line['again'] as String
            waiting[id] = (Map<String, Object>) Objects.requireNonNull(refused[id])['entry']
            refused.remove(id)
        } else {
            throw new IllegalArgumentException('no line of ours')
        }
    }

    /** Writes what is left into a new log that takes the old one's place whole or not at all. */
    private void compact() {
        List<Map<String, Object>> lines = [[server: server] as Map<String, Object>]
        refused.each { String id, Map<String, Object> it ->
            lines << ([add: it['entry']] as Map<String, Object>)
            lines << ([refused: id, problem: it['problem']] as Map<String, Object>)
        }
        waiting.values().each { Map<String, Object> entry -> lines << ([add: entry] as Map<String, Object>) }
        Path unfinished = folder.resolve(UNFINISHED), path = folder.resolve(LOG)
        isDamaged = true
        FileChannel.open(unfinished, StandardOpenOption.CREATE, StandardOpenOption.TRUNCATE_EXISTING,
            StandardOpenOption.WRITE).withCloseable { FileChannel file -> append(file, lines) }
        log?.close()  // Windows does not replace a file that is open.
        try {
            Files.move(unfinished, path, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING)
        } catch (AtomicMoveNotSupportedException ignored) {
            Files.move(unfinished, path, StandardCopyOption.REPLACE_EXISTING)
        }
        syncFolder(folder)
        log = FileChannel.open(path, StandardOpenOption.WRITE, StandardOpenOption.APPEND)
        tidySize = log.size()
        isDamaged = false
    }

    private static void append(FileChannel file, List<Map<String, Object>> lines) {
        StringBuilder text = new StringBuilder()
        lines.each { Map<String, Object> line -> text.append(Json.write(line)).append('\n') }
        put(file, text.toString().getBytes(StandardCharsets.UTF_8))
    }

    private static void put(FileChannel file, byte[] content) {
        ByteBuffer bytes = ByteBuffer.wrap(content)
        while (bytes.hasRemaining()) {
            file.write(bytes)
        }
        file.force(true)
    }

    private void setAside(List<byte[]> lines) {
        ByteArrayOutputStream all = new ByteArrayOutputStream()
        lines.each { byte[] line ->
            all.write(line, 0, line.length)
            all.write(10)
        }
        String name = "unread-${sha256(all.toByteArray()).take(16)}.txt"
        FileChannel.open(folder.resolve(name), StandardOpenOption.CREATE, StandardOpenOption.TRUNCATE_EXISTING,
            StandardOpenOption.WRITE).withCloseable { FileChannel file ->
            put(file, all.toByteArray())
        }
        syncFolder(folder)
        nSetAside = lines.size()
    }

    private static List<byte[]> linesOf(byte[] bytes) {
        List<byte[]> lines = []
        int start = 0
        for (int end = 0; end <= bytes.length; end++) {
            if (end == bytes.length || bytes[end] == (byte) 10) {
                if (end > start) {
                    lines << Arrays.copyOfRange(bytes, start, end)
                }
                start = end + 1
            }
        }
        lines
    }

    private static void makeFolder(Path folder) {
        List<Path> missing = []
        for (Path path = folder.toAbsolutePath(); path != null && !Files.isDirectory(path); path = path.parent) {
            missing << path
        }
        Files.createDirectories(folder)
        missing.each { Path path -> syncFolder(path.parent) }
    }

    /** Puts the names in a folder on the disk; Windows does that by itself, and refuses to be asked. */
    private static void syncFolder(Path folder) {
        if (!IS_WINDOWS && folder != null) {
            FileChannel.open(folder, StandardOpenOption.READ).withCloseable { FileChannel it -> it.force(true) }
        }
    }

    @PackageScope
    static String sha256(byte[] bytes) {
        HexFormat.of().formatHex(java.security.MessageDigest.getInstance('SHA-256').digest(bytes))
    }

    private Problem unusable(Exception err) {
        Problem problem = new Problem('outbox_unusable', 0,
            "Labels cannot be kept safe in ${folder}: ${err.message ?: err.class.simpleName}.",
            'Make room on that disk, or the right to write there; until then a label counts only when it is marked saved.', true)
        problem.initCause(err)
        problem
    }
}
