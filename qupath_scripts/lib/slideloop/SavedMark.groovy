package slideloop

import groovy.transform.CompileStatic
import javafx.css.PseudoClass
import javafx.scene.layout.Region
import javafx.scene.shape.SVGPath

/** How safe a label is, as a shape (fonts lack such signs): a tick, three dots, an exclamation mark. */
@CompileStatic
final class SavedMark extends Region {

    private static final Map<String, String> SHAPES = [
        saved  : 'M1 6.5 L4.5 10 L11 2.5 L9.8 1.5 L4.4 7.8 L2 5.4 Z',
        waiting: 'M0.5 5 h2.6 v2.6 h-2.6 Z M4.7 5 h2.6 v2.6 h-2.6 Z M8.9 5 h2.6 v2.6 h-2.6 Z',
        refused: 'M4.6 0.5 h2.8 v7 h-2.8 Z M4.6 9 h2.8 v2.6 h-2.8 Z',
    ]

    private final SVGPath path = new SVGPath()

    SavedMark() {
        getStyleClass().add('saved-mark')
        path.styleClass.add('saved-mark-shape')
        getChildren().add(path)
        setMaxSize(USE_PREF_SIZE, USE_PREF_SIZE)
        setMinSize(USE_PREF_SIZE, USE_PREF_SIZE)
        setVisible(false)
    }

    /** @param saved `waiting`, `saved` or `refused`; null for no mark */
    void show(String saved) {
        setVisible(SHAPES.containsKey(saved))
        if (isVisible()) {
            path.content = SHAPES[saved]
        }
        for (String state : SHAPES.keySet()) {
            pseudoClassStateChanged(PseudoClass.getPseudoClass(state), state == saved)
        }
    }

    @Override
    protected double computePrefWidth(double forHeight) {
        12
    }

    @Override
    protected double computePrefHeight(double forWidth) {
        12
    }
}
