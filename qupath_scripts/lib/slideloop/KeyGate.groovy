package slideloop

import groovy.transform.CompileStatic

import java.util.function.LongSupplier

/**
 * Decides which keys and clicks may label: those of somebody who has seen the patch.
 *
 * Three mistakes are kept out: a key held down (the system repeats it), a key meant for the patch
 * before (it comes just after the next one has appeared), and a key that comes while the picture of
 * the new patch is still being read. Knows no widgets; one thread.
 */
@CompileStatic
final class KeyGate {

    /** After a new patch has appeared, this long no key labels it. */
    static final long KEY_MS = 150

    /** The same for clicks: the second one of a double click comes later than a slipped key. */
    static final long CLICK_MS = 300

    /**
     * A key down without a sign of life for this long counts as let go: its release went to another
     * window. Systems repeat a held key much sooner.
     */
    static final long FORGOTTEN_MS = 1500

    private final LongSupplier clock
    private final Map<String, Long> down = [:]
    private boolean seen
    private long shownAt

    /** @param clock milliseconds of a clock that is never set back */
    KeyGate(LongSupplier clock) {
        this.clock = clock
    }

    /** A new patch has been chosen; its picture is not on the screen yet. */
    void hidden() {
        seen = false
    }

    /** The picture of the patch is on the screen now. */
    void shown() {
        seen = true
        shownAt = clock.asLong
    }

    /**
     * A key went down, or the system repeats it.
     *
     * @return whether it was pressed anew
     */
    boolean pressed(String key) {
        long now = clock.asLong
        Long last = down.put(key, now)
        last == null || now - last > FORGOTTEN_MS
    }

    /** A key was let go. */
    void released(String key) {
        down.remove(key)
    }

    /** Whether a key pressed now may label the patch. */
    boolean mayLabel() {
        seen && clock.asLong - shownAt >= KEY_MS
    }

    /** Whether a click made now may label the patch. */
    boolean mayLabelByClick() {
        seen && clock.asLong - shownAt >= CLICK_MS
    }
}
