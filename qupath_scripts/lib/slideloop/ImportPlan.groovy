package slideloop

import groovy.transform.CompileStatic

/**
 * What an import of a mask does to the objects of an image (`interfaces.md`, Replace). Pure.
 *
 * Of the objects that an earlier import of the same study made, those that are as they were made go;
 * those that somebody edited stay, unless they are to be discarded. A new object is left out where an
 * object of the same id stays: it would lie under an edited copy of itself.
 */
@CompileStatic
final class ImportPlan {

    /** Objects in an image above which QuPath keeps no undo. */
    static final int MOST_WITH_UNDO = 10_000

    /** An object of the image. */
    @CompileStatic
    static final class Held {
        /** Whatever the caller knows it by. */
        final Object object
        final UUID id
        final String name
        /** As the study writes it; null for none or one that the study does not have. */
        final String className
        /** All vertices, level-0 pixels. */
        final double[] x, y

        Held(Object object, UUID id, String name, String className, double[] x, double[] y) {
            this.object = object
            this.id = id
            this.name = name
            this.className = className
            this.x = x
            this.y = y
        }

        /** Whether a study's import made it. */
        boolean isOf(String studyId) {
            name == ObjectId.marker(studyId)
        }

        /** Whether class and outline are not those that its id was made from. */
        boolean isEdited(String studyId) {
            className == null || id != ObjectId.of(studyId, className, x, y)
        }
    }

    /** Made by an earlier import, untouched since: go. */
    final List<Object> untouched = []
    /** Made by an earlier import, and edited by somebody: stay, or go with `discardEdits`. */
    final List<Object> edited = []
    /** To be added. */
    final List<MaskFeature> added = []
    /** How many are left out, since an object of their id stays. */
    final int nLeftOut
    /** Whether edited objects go too. */
    final boolean discardEdits
    private final int nBefore

    /**
     * @param studyId study of the mask
     * @param held all objects of the image, but for the temporary ones
     * @param features objects of the mask
     * @param discardEdits whether edited objects of earlier imports go too
     */
    ImportPlan(String studyId, Collection<Held> held, List<MaskFeature> features, boolean discardEdits) {
        this.discardEdits = discardEdits
        nBefore = held.size()
        Set<UUID> staying = new HashSet<>()
        for (Held it : held) {
            boolean isOurs = it.isOf(studyId)
            boolean isEdited = isOurs && it.isEdited(studyId)
            if (isOurs) {
                (isEdited ? edited : untouched) << it.object
            }
            if (!isOurs || isEdited && !discardEdits) {
                staying << it.id
            }
        }
        features.each { MaskFeature it ->
            if (!staying.contains(it.id)) {
                added << it
            }
        }
        nLeftOut = features.size() - added.size()
    }

    /** All that go. */
    List<Object> removed() {
        discardEdits ? untouched + edited : untouched
    }

    /** Whether there was an import before: then this one has to be asked for as a replacement. */
    boolean isReplacing() {
        untouched || edited
    }

    /** How many objects the image has afterwards. */
    int nAfter() {
        nBefore - removed().size() + added.size()
    }

    /** Whether QuPath's undo ends with it: all steps before are forgotten, and later ones are not kept. */
    boolean endsUndo() {
        nAfter() > MOST_WITH_UNDO
    }
}
