package slideloop

import groovy.transform.CompileStatic
import javafx.geometry.Orientation
import javafx.scene.input.MouseButton
import javafx.scene.input.MouseEvent
import javafx.scene.layout.Region

import java.util.function.Consumer

/**
 * The patches of a round in one row, or in as many as leave them large enough.
 *
 * The height depends on the width and the number of places only, so nothing moves from round to
 * round, also when the last rounds have fewer patches.
 */
@CompileStatic
final class ThumbnailStrip extends Region {

    private static final double LARGEST = 104
    private static final double LARGEST_OF_ROWS = 74
    private static final double ONE_ROW = 62
    private static final double READABLE = 52
    private static final double SMALLEST = 26
    private static final double GAP = 4
    private static final int MOST_ROWS = 3

    private final List<Thumbnail> thumbnails = []
    private final Consumer<Map> chosen
    private int places = 1

    /** @param chosen is told of the patch that was clicked */
    ThumbnailStrip(Consumer<Map> chosen) {
        this.chosen = chosen
        getStyleClass().add('thumbnails')
    }

    /** Have a thumbnail for each of `n` patches, and room for at least `places`. */
    List<Thumbnail> hold(int n, int places) {
        while (thumbnails.size() < n) {
            Thumbnail thumbnail = new Thumbnail()
            thumbnail.addEventHandler(MouseEvent.MOUSE_PRESSED) { MouseEvent event ->
                if (event.button == MouseButton.PRIMARY && thumbnail.patch != null) {
                    chosen.accept(thumbnail.patch)
                }
            }
            thumbnails << thumbnail
            getChildren().add(thumbnail)
        }
        while (thumbnails.size() > n) {
            getChildren().remove(thumbnails.removeLast())
        }
        int wanted = Math.max(1, Math.max(n, places))
        if (wanted != this.places) {
            this.places = wanted
            requestLayout()
            getParent()?.requestLayout()
        }
        thumbnails
    }

    /** Thumbnails in a row, which the up and down keys step over. */
    int columns() {
        columnsAt(getWidth())
    }

    private int columnsAt(double width) {
        (int) Math.ceil(places / (double) rows(width))
    }

    private int rows(double width) {
        for (int rows = 1; rows < MOST_ROWS; rows++) {
            if (side(width, rows) >= (rows == 1 ? ONE_ROW : READABLE)) {
                return rows
            }
        }
        Math.min(MOST_ROWS, places)
    }

    private double side(double width, int rows) {
        int columns = (int) Math.ceil(places / (double) rows)
        double side = Math.floor((width - getInsets().left - getInsets().right - (columns - 1) * GAP) / columns)
        // Room that many rows would take is worth more to the patch itself.
        Math.max(SMALLEST, Math.min(rows == 1 ? LARGEST : LARGEST_OF_ROWS, side))
    }

    @Override
    Orientation getContentBias() {
        Orientation.HORIZONTAL
    }

    @Override
    protected double computePrefHeight(double forWidth) {
        double width = forWidth > 0 ? forWidth : getWidth()
        int rows = rows(width)
        getInsets().top + getInsets().bottom + rows * (side(width, rows) + Thumbnail.CAPTION) + (rows - 1) * GAP
    }

    @Override
    protected double computeMinHeight(double forWidth) {
        computePrefHeight(forWidth)
    }

    @Override
    protected double computeMinWidth(double forHeight) {
        300
    }

    @Override
    protected void layoutChildren() {
        double width = getWidth()
        int rows = rows(width), columns = columnsAt(width)
        double side = side(width, rows), height = side + Thumbnail.CAPTION
        double used = columns * side + (columns - 1) * GAP
        double left = getInsets().left + Math.floor((width - getInsets().left - getInsets().right - used) / 2)
        for (int i = 0; i < thumbnails.size(); i++) {
            double x = left + (i % columns) * (side + GAP)
            double y = getInsets().top + Math.floorDiv(i, columns) * (height + GAP)
            thumbnails[i].resizeRelocate(x, y, side, height)
        }
    }
}
