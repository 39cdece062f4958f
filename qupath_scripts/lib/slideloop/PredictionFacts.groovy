package slideloop

import groovy.transform.CompileStatic

/** What a prediction says of a slide, in numbers and words. Pure. */
@CompileStatic
final class PredictionFacts {

    private final Prediction prediction
    private final Double patch_mm2

    /**
     * @param pixel_um2 area of a level-0 pixel in square um; null if not known
     */
    PredictionFacts(Prediction prediction, Double pixel_um2) {
        this.prediction = prediction
        patch_mm2 = pixel_um2 == null ? null : (Double) (prediction.areaOfPatch() * pixel_um2 / 1e6d)
    }

    /** "1 234". */
    String patches(String className) {
        WindowWords.grouped(prediction.count(className))
    }

    /** "12.3 mm²"; blank where the size of a pixel is not known. */
    String area(String className) {
        if (patch_mm2 == null) {
            return ''
        }
        double area = prediction.count(className) * patch_mm2
        String.format(Locale.ROOT, area >= 100 ? '%.0f\u00a0mm²' : area >= 1 ? '%.1f\u00a0mm²' : '%.3f\u00a0mm²', area)
    }

    /** Share of the patches: "12 %". */
    String share(String className) {
        percent(prediction.count(className), prediction.n)
    }

    /** Mean probability of those that were not labelled: "93 %"; blank if there are none. */
    String certainty(String className) {
        double mean = prediction.meanProbability(className)
        Double.isNaN(mean) ? '' : "${Math.round(100 * mean)}\u00a0%"
    }

    /** How much of the slide an expert labelled, in a sentence. */
    String lookedAt() {
        int n = prediction.nGiven()
        "Labelled by you: ${WindowWords.grouped(n)} of ${WindowWords.grouped(prediction.n)} patch${prediction.n == 1 ? '' : 'es'} (${percent(n, prediction.n)})."
    }

    /** How sure the rest is, in a sentence. */
    String sure() {
        int rest = prediction.n - prediction.nGiven(), n = prediction.nSure()
        "Of the others, ${percent(n, rest)} are at least ${Math.round(100 * Prediction.SURE)}\u00a0% probable."
    }

    /** Which training it is of, in half a sentence. */
    String origin() {
        "after training ${prediction.modelRound}${prediction.complete ? '' : '; the slide is still being indexed'}"
    }

    /** One decimal below ten percent, so that little is not nothing. */
    private static String percent(int part, int whole) {
        double share = whole ? 100d * part / whole : 0
        share == 0 || share >= 10 ? "${Math.round(share)}\u00a0%" : String.format(Locale.ROOT, '%.1f\u00a0%%', share)
    }
}
