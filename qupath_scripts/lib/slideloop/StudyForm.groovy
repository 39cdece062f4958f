package slideloop

import groovy.transform.CompileStatic
import javafx.beans.property.SimpleBooleanProperty
import javafx.collections.FXCollections
import javafx.collections.ObservableList
import javafx.geometry.Insets
import javafx.geometry.Pos
import javafx.scene.control.Button
import javafx.scene.control.CheckBox
import javafx.scene.control.ComboBox
import javafx.scene.control.Label
import javafx.scene.control.ListCell
import javafx.scene.control.ListView
import javafx.scene.control.Spinner
import javafx.scene.control.TextField
import javafx.scene.control.Tooltip
import javafx.scene.layout.GridPane
import javafx.scene.layout.HBox
import javafx.scene.layout.Priority
import javafx.scene.layout.Region
import javafx.scene.layout.VBox
import javafx.scene.paint.Color
import javafx.scene.shape.Rectangle

import java.util.function.Function

/**
 * What is asked of whoever makes a study: classes, how large a patch is, how it is learnt. Everything
 * but the classes has the server's default. UI thread only.
 */
@CompileStatic
final class StudyForm extends GridPane {

    private static final int LEAST_PATCH_PX = 16
    private static final int MOST_PATCH_PX = 4096
    private static final double LIST_HEIGHT = 150

    private final Double mpp
    private final Map<String, Object> defaults
    private final Function<String, Integer> colour

    private final TextField name = new TextField()
    private final ObservableList<String> names = FXCollections.observableArrayList()
    private final Map<String, SimpleBooleanProperty> chosen = new LinkedHashMap<>()
    private final ListView<String> classes = new ListView<>(names)
    private final TextField another = new TextField()
    private final ComboBox<String> positive = new ComboBox<>()
    private final Spinner<Integer> patch
    private final TextField target = new TextField()
    private final Label size = new Label()
    private final Spinner<Integer> rounds
    private final Spinner<Integer> k
    private final ComboBox<String> strategy = new ComboBox<>()
    private final ComboBox<String> engine = new ComboBox<>()

    /** Is run when what was chosen has changed. */
    Runnable changed = { }

    /**
     * @param imageName proposed as the study's name
     * @param mpp um per pixel of the image; null if not known
     * @param info the server's `/info`
     * @param allClasses QuPath's class list
     * @param likely those that are probably wanted
     * @param colour of a class, as 0xRRGGBB
     */
    StudyForm(String imageName, Double mpp, Map<String, Object> info, List<String> allClasses, Collection<String> likely,
              Function<String, Integer> colour) {
        this.mpp = mpp
        this.colour = colour
        defaults = (Map<String, Object>) info['defaults']
        name.text = imageName
        patch = spinner(LEAST_PATCH_PX, MOST_PATCH_PX, number('patch_px'), 16)
        rounds = spinner(1, 1000, number('rounds'), 1)
        k = spinner(1, 1000, number('k'), 1)
        strategy.items.setAll((List<String>) info['strategies'])
        strategy.value = defaults['strategy'] as String
        engine.items.setAll((List<String>) info['engines'])
        engine.value = defaults['engine'] as String
        target.text = defaults['target_mpp'] == null ? '' : text((Number) defaults['target_mpp'])
        target.promptText = mpp == null ? 'as the image, not known' : "as the image: ${text(mpp)}".toString()
        allClasses.each { String it -> add(it, it in likely) }
        lookLikeClasses()
        layOut()
        patch.valueProperty().addListener { observed, old, now -> showSize() }
        target.textProperty().addListener { observed, old, now -> showSize() }
        showSize()
        showPositive()
    }

    /** The classes chosen, in the order of the list; the first key of the review window is the first of them. */
    List<String> getClassNames() {
        names.findAll { String it -> chosen[it].get() } as List<String>
    }

    /** Choose one class more. */
    void choose(String className) {
        add(className, true)
        chosen[className].set(true)
        classes.refresh()
        showPositive()
    }

    /** Choose the class of the query, which is what is sought unless another is said to be. */
    void seek(String className) {
        choose(className)
        positive.value = className
    }

    /** Why no study can be made of this; null if it can. */
    String problem() {
        if (classNames.size() < 2) {
            return 'Choose at least two classes: what is sought, and what else there is.'
        }
        if (!name.text?.trim()) {
            return 'Give the study a name.'
        }
        if (target.text?.trim() && targetMpp() == null) {
            return 'The resolution is a number of µm/px, such as 0.5.'
        }
        null
    }

    /** What `POST /slides` takes beside the image's facts. */
    Map<String, Object> slideOptions() {
        commit(patch)
        Map<String, Object> options = [patch_px: patch.value] as Map<String, Object>
        if (targetMpp() != null) {
            options['target_mpp'] = targetMpp()
        }
        options
    }

    /** What `POST /studies` takes beside the slides. */
    Map<String, Object> studyOptions() {
        [rounds, k].each { Spinner<Integer> it -> commit(it) }
        [name: name.text.trim(), mode: 'classes', classes: classNames, positive: positive.value ?: classNames.first(),
         rounds: rounds.value, k: k.value, strategy: strategy.value, engine: engine.value] as Map<String, Object>
    }

    private void layOut() {
        setHgap(10)
        setVgap(8)
        setPadding(new Insets(10, 0, 0, 0))
        another.promptText = 'Another class'
        HBox.setHgrow(another, Priority.ALWAYS)
        Button add = new Button('Add')
        add.onAction = { addTyped() }
        another.onAction = { addTyped() }
        HBox adding = new HBox(6, another, add)
        HBox patchLine = new HBox(8, patch, size)
        patchLine.alignment = Pos.CENTER_LEFT
        HBox times = new HBox(8, rounds, new Label('rounds of'), k, new Label('patches'))
        times.alignment = Pos.CENTER_LEFT
        [patch, rounds, k].each { Spinner it -> it.prefWidth = 90 }
        target.prefWidth = 170
        int row = 0
        line(row++, 'Name', name, 'How the study is listed.')
        line(row++, 'Classes', new VBox(6, classes, adding), 'What patches can be. Each gets a key, 1 to 9, in this order.')
        line(row++, 'Sought', positive, 'The class that the mask shows.')
        line(row++, 'Patch', patchLine, 'Side of the squares that are judged. It cannot be changed later.')
        line(row++, 'µm/px', target, 'Resolution at which the patches are looked at; that of the image if left empty.')
        line(row++, 'Session', times, 'Each query leads to so many rounds.')
        line(row++, 'Strategy', strategy, 'How the patches of a round are chosen.')
        line(row, 'Engine', engine, 'linear answers at once; faithful trains the networks of the paper, for minutes.')
    }

    private void line(int row, String word, javafx.scene.Node node, String help) {
        Label label = new Label(word)
        label.minWidth = Region.USE_PREF_SIZE
        label.tooltip = new Tooltip(help)
        setValignment(label, javafx.geometry.VPos.TOP)
        setMargin(label, new Insets(4, 0, 0, 0))
        setHgrow(node, Priority.ALWAYS)
        add(label, 0, row)
        add(node, 1, row)
    }

    private void lookLikeClasses() {
        classes.prefHeight = LIST_HEIGHT
        classes.minHeight = LIST_HEIGHT
        classes.cellFactory = { ListView<String> list -> new ClassCell() }
    }

    /** A class with its colour and a box to choose it by. */
    private final class ClassCell extends ListCell<String> {
        @Override
        protected void updateItem(String item, boolean isEmpty) {
            super.updateItem(item, isEmpty)
            if (isEmpty || item == null) {
                setGraphic(null)
                return
            }
            CheckBox box = new CheckBox(item)
            int rgb = StudyForm.this.colour.apply(item)
            Rectangle swatch = new Rectangle(12, 12, Color.rgb((rgb >> 16) & 0xff, (rgb >> 8) & 0xff, rgb & 0xff))
            box.selected = StudyForm.this.chosen[item].get()
            box.selectedProperty().addListener { observed, old, now -> StudyForm.this.choice(item, now as boolean) }
            HBox content = new HBox(8, swatch, box)
            content.alignment = Pos.CENTER_LEFT
            setGraphic(content)
        }
    }

    private void choice(String className, boolean isChosen) {
        chosen[className].set(isChosen)
        showPositive()
    }

    private void add(String className, boolean isChosen) {
        if (!chosen.containsKey(className)) {
            chosen[className] = new SimpleBooleanProperty(isChosen)
            names.add(className)
        }
    }

    private void addTyped() {
        String typed = another.text?.trim()
        if (typed) {
            choose(typed)
            classes.scrollTo(typed)
            another.clear()
        }
    }

    private void showPositive() {
        String before = positive.value
        List<String> now = classNames
        positive.items.setAll(now)
        positive.value = before in now ? before : now.find()
        changed.run()
    }

    private void showSize() {
        Double seen = targetMpp() ?: mpp
        size.text = seen == null ? 'px; µm/px is not known' : "px = ${Math.round((double) (patch.value * seen))} µm".toString()
        changed.run()
    }

    private Double targetMpp() {
        Opening.read(target.text)
    }

    private int number(String key) {
        ((Number) defaults[key]).intValue()
    }

    private static String text(Number number) {
        String.format(Locale.ROOT, '%.4g', number.doubleValue())
    }

    private static Spinner<Integer> spinner(int least, int most, int value, int step) {
        Spinner<Integer> spinner = new Spinner<Integer>(least, most, value, step)
        spinner.editable = true
        // What was typed counts also without Enter; not before it is all typed, since the spinner corrects it.
        spinner.focusedProperty().addListener { observed, was, is -> commit(spinner) }
        spinner
    }

    private static void commit(Spinner<Integer> spinner) {
        try {
            spinner.valueFactory.value = Integer.parseInt(spinner.editor.text.trim())
        } catch (NumberFormatException ignored) {
            // No number; the last one holds.
        }
    }
}
