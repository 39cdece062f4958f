package slideloop

import groovy.transform.CompileStatic

import java.nio.file.DirectoryStream
import java.nio.file.Files
import java.nio.file.Path
import java.time.Duration
import java.time.Instant

/** Whether a project's files may be written: QuPath has no lock, and the last writer wins. */
@CompileStatic
final class ProjectState {

    /** A project saved within so long may still be open. */
    private static final Duration RECENT = Duration.ofMinutes(5)
    /** Of a QuPath that was killed, the heartbeat is older. */
    private static final Duration STALE = Duration.ofMinutes(2)
    private static final byte[] BEGIN = [0xac, 0xed, 0x00, 0x05] as byte[]
    private static final byte[] END = [0x74, 0x00, 0x03, 0x45, 0x4f, 0x46] as byte[]

    private ProjectState() {
    }

    /**
     * Refuse a project that a QuPath says it has open, or that was saved just now.
     *
     * @param folder of the project
     * @param force whether the latter does not count
     * @throws Problem `project_open`
     */
    static void requireClosed(Path folder, boolean force) {
        try (DirectoryStream<Path> open = Files.newDirectoryStream(folder, "${Heartbeat.PREFIX}*.json")) {
            if (open.any { Path it -> age(it) < STALE }) {
                throw new Problem('project_open', 0, 'The project is open in a QuPath, which would overwrite what is imported.',
                    'Close it there. If that QuPath has crashed, try again in two minutes.', false)
            }
        }
        Path file = folder.resolve('project.qpproj')
        if (!force && Files.exists(file) && age(file) < RECENT) {
            throw new Problem('project_open', 0, 'The project was saved within the last five minutes, so QuPath may still have it open.',
                'Close it in QuPath, then give "force": true.', false)
        }
    }

    /**
     * Refuse a data file that is not whole, which QuPath reads as one without objects, or without end.
     *
     * @param data need not exist
     * @throws Problem `data_unreadable`
     */
    static void requireWhole(Path data) {
        if (!Files.exists(data)) {
            return
        }
        try (RandomAccessFile file = new RandomAccessFile(data.toFile(), 'r')) {
            if (file.length() < BEGIN.length + END.length || read(file, 0, BEGIN.length) != BEGIN ||
                read(file, file.length() - END.length, END.length) != END) {
                throw new Problem('data_unreadable', 0, "The image's data file is not whole: QuPath was cut off when it last saved it.",
                    'Open the image in QuPath, look whether all objects are there, and save it.', false)
            }
        }
    }

    private static byte[] read(RandomAccessFile file, long at, int n) {
        byte[] found = new byte[n]
        file.seek(at)
        file.readFully(found)
        found
    }

    private static Duration age(Path file) {
        Duration.between(Files.getLastModifiedTime(file).toInstant(), Instant.now())
    }
}
