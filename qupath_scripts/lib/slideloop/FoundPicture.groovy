package slideloop

import groovy.transform.CompileStatic
import javafx.scene.image.Image

/** What came of a wanted picture: an image, or a sentence why there is none. */
@CompileStatic
final class FoundPicture {
    final Image image
    final String problem
    final long atMs

    FoundPicture(Image image, String problem, long atMs) {
        this.image = image
        this.problem = problem
        this.atMs = atMs
    }
}
