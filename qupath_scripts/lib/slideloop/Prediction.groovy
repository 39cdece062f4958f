package slideloop

import groovy.transform.CompileStatic

/** What the model and the expert say of every patch of a slide, after one training. Never changes. */
@CompileStatic
final class Prediction {

    /** A patch whose class is at least this probable counts as sure. */
    static final double SURE = 0.9

    final String slide
    /** Number of the training, from 1 on. */
    final int modelRound
    /** Whether the slide is indexed to its end; otherwise more patches will come. */
    final boolean complete
    final List<String> classes
    /** Side and step of the patches in level-0 pixels. */
    final int patch_px0, stride_px0
    /** How many patches; all arrays are as long. */
    final int n
    final int[] column, row
    /** Index in `classes`; -1 where it was excluded. */
    final int[] label
    /** Of that class, 0 to 1; 1 where the expert gave it. */
    final float[] probability
    /** Whether the expert gave the label. */
    final boolean[] given

    /** @param answer of the server to `prediction?format=arrays` */
    Prediction(Map<?, ?> answer) {
        Map grid = (Map) answer['grid']
        slide = (String) answer['slide']
        modelRound = ((Number) answer['model_round']).intValue()
        complete = (boolean) answer['complete']
        classes = (List<String>) answer['classes']
        patch_px0 = ((Number) grid['patch_px0']).intValue()
        stride_px0 = ((Number) grid['stride_px0']).intValue()
        column = ints(answer['col'])
        row = ints(answer['row'])
        label = ints(answer['label'])
        n = column.length
        List<Number> probabilities = (List<Number>) answer['probability']
        probability = new float[n]
        given = new boolean[n]
        int[] ones = ints(answer['given'])
        for (int i = 0; i < n; i++) {
            probability[i] = probabilities[i].floatValue()
            given[i] = ones[i] == 1
        }
    }

    /** How many patches are of a class. */
    int count(String className) {
        int index = classes.indexOf(className), found = 0
        for (int it : label) {
            found += it == index ? 1 : 0
        }
        found
    }

    /** Mean probability of the patches of a class that the expert did not label; NaN if there are none. */
    double meanProbability(String className) {
        int index = classes.indexOf(className)
        double sum = 0
        int found = 0
        for (int i = 0; i < n; i++) {
            if (label[i] == index && !given[i]) {
                sum += probability[i]
                found++
            }
        }
        found ? sum / found : Double.NaN
    }

    /** How many patches the expert gave a class, or excluded: reviewed, in a query, or in a region. */
    int nGiven() {
        int found = 0
        for (boolean it : given) {
            found += it ? 1 : 0
        }
        found
    }

    /** How many patches that the expert did not label have a class of at least `SURE`. */
    int nSure() {
        int found = 0
        for (int i = 0; i < n; i++) {
            found += !given[i] && label[i] >= 0 && probability[i] >= (float) SURE ? 1 : 0
        }
        found
    }

    /** Area that one patch stands for, level-0 pixels: overlapping patches share theirs out. */
    double areaOfPatch() {
        stride_px0 * (double) stride_px0
    }

    private static int[] ints(Object numbers) {
        List<Number> all = (List<Number>) numbers
        int[] values = new int[all.size()]
        for (int i = 0; i < values.length; i++) {
            values[i] = all[i].intValue()
        }
        values
    }
}
