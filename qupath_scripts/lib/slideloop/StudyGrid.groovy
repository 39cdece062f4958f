package slideloop

import groovy.transform.CompileStatic

/** How a study's slides are cut, as `POST /slides` takes it. */
@CompileStatic
final class StudyGrid {

    /** The server takes slides into one study whose patches differ by less. */
    private static final double SAME_SIZE = 0.1

    private StudyGrid() {
    }

    /** The grid of a slide that is known, so that the same slide comes back. */
    static Map<String, Object> of(Map<String, Object> slide) {
        Map<String, Object> grid = (Map<String, Object>) slide['grid']
        Map<String, Object> options = [patch_px: grid['patch_px'], stride_px: grid['stride_px'], filter: slide['filter'],
                                       normalisation: slide['normalisation']] as Map<String, Object>
        if (grid['mpp'] != null) {
            options['target_mpp'] = grid['mpp']
        }
        options
    }

    /**
     * The grid of another image, so that its patches are as large in um as those of a slide of the study.
     *
     * @param slide of the study
     * @param mpp um/px of the image, null if not known: the server then asks for it where it matters
     */
    static Map<String, Object> like(Map<String, Object> slide, Double mpp) {
        Map<String, Object> options = of(slide)
        Number known = (Number) slide['mpp']
        boolean isSame = known == null || mpp != null && Math.abs((double) (mpp / known.doubleValue() - 1)) < SAME_SIZE
        if (!isSame && options['target_mpp'] == null) {
            options['target_mpp'] = known
        }
        options
    }
}
