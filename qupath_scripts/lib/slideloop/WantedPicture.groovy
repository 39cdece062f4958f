package slideloop

import groovy.transform.CompileStatic

/** One picture: of which patch, how wide a field, how many pixels. */
@CompileStatic
final class WantedPicture {
    final Map patch
    final double context
    final int px
    /** What tells this picture from others: the same place in the same size is the same one. */
    final String key

    WantedPicture(Map patch, double context, int px) {
        this.patch = patch
        this.context = context
        this.px = px
        StringBuilder place = new StringBuilder()
        for (Object part : [patch.slide, patch.x, patch.y, patch.width, context, px]) {
            place.append(part).append(' ')
        }
        key = place.toString()
    }
}

