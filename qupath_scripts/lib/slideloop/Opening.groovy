package slideloop

import groovy.transform.CompileStatic
import javafx.scene.control.TextInputDialog
import javafx.stage.Window

import java.nio.file.Files
import java.nio.file.Path
import java.util.function.Supplier

/**
 * Opens a slide at the server, and asks the user what the server cannot know: whether it may read the
 * folder, how large a pixel is. Not in the UI thread.
 */
@CompileStatic
final class Opening {

    private static final double LEAST_MPP = 0.02, MOST_MPP = 20

    private final Window owner
    private final Server server
    private final Map<String, Object> body
    private final Set<String> asked = [] as Set<String>

    private Opening(Window owner, Server server, Map<String, Object> body) {
        this.owner = owner
        this.server = server
        this.body = new LinkedHashMap<>(body)
    }

    /**
     * @param owner of the questions
     * @param body of `POST /slides`
     * @return its answer: {slide, job}
     * @throws Problem as Server.send, also where the user does not want what was asked
     */
    static Map<String, Object> open(Window owner, Server server, Map<String, Object> body) {
        new Opening(owner, server, body).send()
    }

    private Map<String, Object> send() {
        while (true) {
            try {
                return new LinkedHashMap<>((Map<String, Object>) server.send('POST', '/slides', body))
            } catch (Problem problem) {
                if (!isAnswered(problem)) {
                    throw problem
                }
            }
        }
    }

    /** Whether the user said something that makes it worth another try; each thing is asked once. */
    private boolean isAnswered(Problem problem) {
        if (!(problem.code in ['file_not_found', 'mpp_needed']) || !asked.add(problem.code)) {
            return false
        }
        problem.code == 'mpp_needed' ? isPixelKnown() : isFolderAllowed()
    }

    private boolean isFolderAllowed() {
        Path folder = folder()
        if (folder == null || !server.isLoopback() || !((Map) server.get('/folders'))['may_add']) {
            return false
        }
        boolean isAllowed = Say.fromBeside({
            Say.confirm(owner, 'Allow this folder?', "The server on this computer reads slides in no folder but those that you allow. " +
                "May it read the slides in\n\n${folder}\n\nand in the folders below it? It remembers that.", 'Allow')
        } as Supplier<Boolean>)
        if (isAllowed) {
            server.send('POST', '/folders', [folder: folder.toUri().toString()])
        }
        isAllowed
    }

    /** The slide's folder, if the slide is on this computer. */
    private Path folder() {
        try {
            Path file = Path.of(URI.create(body['path'] as String))
            return Files.isRegularFile(file) ? file.parent : null
        } catch (RuntimeException ignored) {
            return null
        }
    }

    private boolean isPixelKnown() {
        String typed = Say.fromBeside({
            TextInputDialog dialog = new TextInputDialog()
            dialog.initOwner(owner)
            dialog.title = 'slideloop: size of a pixel'
            dialog.headerText = "QuPath does not know how large a pixel of this image is,\nand patches at " +
                "${body['target_mpp']} µm/px are wanted. What is said here is remembered for the image."
            dialog.contentText = 'µm per pixel:'
            dialog.showAndWait().orElse('')
        } as Supplier<String>)
        Double mpp = read(typed)
        if (mpp != null) {
            body['mpp'] = mpp
        } else if (typed) {
            throw new Problem('mpp_needed', 0, "${typed} is no size of a pixel in µm.", "Such as 0.25; between ${LEAST_MPP} and ${(int) MOST_MPP}.", false)
        }
        mpp != null
    }

    /** um/px as somebody types it; null if it is none. */
    static Double read(String typed) {
        try {
            double value = Double.parseDouble((typed ?: '').trim().replace(',', '.'))
            return value > LEAST_MPP && value < MOST_MPP ? (Double) value : null
        } catch (NumberFormatException ignored) {
            return null
        }
    }
}
