package slideloop

import groovy.transform.CompileStatic
import org.locationtech.jts.geom.Geometry

/**
 * Which corrections of a slide would be sent, and how many patches each labels. Pure.
 *
 * They go from the largest to the smallest, so that what was drawn inside something larger counts. For
 * that a smaller one that was sent before is sent again when something larger around it is new.
 */
@CompileStatic
final class CorrectionPlan {

    /** An object of the image that says what class a region is. */
    @CompileStatic
    static final class Drawn {
        final UUID id
        /** What the server is told: one of the study's classes, or exclude. */
        final String label
        /** Level-0 pixels, valid. */
        final Geometry area
        /** `drawn`, `reclassified` or `edited`. */
        final String how

        Drawn(UUID id, String label, Geometry area, String how) {
            this.id = id
            this.label = label
            this.area = area
            this.how = how
        }
    }

    /** A region to send, or why not. */
    @CompileStatic
    static final class Correction {
        final Drawn drawn
        /** GeoJSON. */
        final Map<String, Object> geometry
        final String eventId
        /** Indices of the patches that it labels. */
        final BitSet patches
        /**
         * `new`; `again`: sent before, and to be sent again after a new one around it; `sent`: the
         * study has it; `taken back`: it had it, until Undo; `nothing`: it covers no patch to half.
         */
        String state

        Correction(Drawn drawn, Map<String, Object> geometry, String eventId, BitSet patches, String state) {
            this.drawn = drawn
            this.geometry = geometry
            this.eventId = eventId
            this.patches = patches
            this.state = state
        }

        /** Whether it would be sent unless told otherwise. */
        boolean isWanted() {
            state in ['new', 'again']
        }

        /** Whether it can be sent. */
        boolean isPossible() {
            state in ['new', 'again', 'taken back']
        }
    }

    /** All, in the order to be sent. */
    final List<Correction> corrections
    /** Whether the numbers of patches are the most it can be; see Cover. */
    final boolean isUpperBound
    private final String slideId

    CorrectionPlan(String slideId, Collection<Drawn> drawn, SentRegions sent, Cover cover) {
        this.slideId = slideId
        isUpperBound = cover.isUpperBound
        corrections = drawn.sort(false) { Drawn a, Drawn b -> Double.compare(b.area.area, a.area.area) ?: a.id <=> b.id }
            .collect { Drawn it -> correction(it, sent, cover) }
        corrections.eachWithIndex { Correction larger, int i ->
            if (larger.wanted) {
                corrections.drop(i + 1).each { Correction smaller -> renew(smaller, larger) }
            }
        }
    }

    /** How many patches get a label by some of the corrections, each counted once. */
    static int nPatches(Collection<Correction> some) {
        Set<Integer> all = new HashSet<>()
        some.each { Correction it -> it.patches.stream().forEach { int patch -> all << patch } }
        all.size()
    }

    /**
     * Returns the body of the request that sends a correction.
     *
     * @param train whether the study is to learn at once
     */
    Map<String, Object> body(Correction correction, boolean train) {
        [slide: slideId, label: correction.drawn.label, geometry: correction.geometry, train: train,
         event_id: correction.eventId] as Map<String, Object>
    }

    private Correction correction(Drawn drawn, SentRegions sent, Cover cover) {
        Map<String, Object> geometry = Shapes.write(drawn.area)
        SentRegions.Sent last = sent.lastOf(slideId, drawn.id)
        boolean isSame = last?.isSame(drawn.label, geometry)
        BitSet patches = geometry == null ? new BitSet() : cover.patches(drawn.area)
        String state = patches.isEmpty() ? 'nothing' : !isSame ? 'new' : last.isUndone ? 'taken back' : 'sent'
        new Correction(drawn, geometry, sent.nextOf(slideId, drawn.id), patches, state)
    }

    private static void renew(Correction smaller, Correction larger) {
        if (smaller.state == 'sent' && smaller.drawn.label != larger.drawn.label && smaller.patches.intersects(larger.patches)) {
            smaller.state = 'again'
        }
    }
}
