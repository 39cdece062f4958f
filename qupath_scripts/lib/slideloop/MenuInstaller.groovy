package slideloop

import groovy.transform.CompileStatic
import javafx.scene.control.Menu
import javafx.scene.control.MenuItem
import javafx.scene.control.SeparatorMenuItem
import javafx.scene.input.KeyCombination
import qupath.lib.gui.QuPathGUI

/** Puts the commands into QuPath's menu, below a line that says how things stand. UI thread only. */
@CompileStatic
final class MenuInstaller {

    /** By QuPath's key for the menu, since its name is translated. */
    private static final String PATH = 'Menu.Extensions>slideloop'

    private final App app
    private final MenuItem status = new MenuItem()

    private MenuInstaller(App app) {
        this.app = app
    }

    /** Install the menu; one that is there is replaced. */
    static void install(App app) {
        new MenuInstaller(app).build()
    }

    private void build() {
        QuPathGUI gui = app.gui
        Menu menu = gui.getMenu(PATH, true)
        menu.items.clear()
        status.onAction = { app.run('connect') }
        menu.items.addAll(status, new SeparatorMenuItem())
        Commands.ALL.each { Commands.Command it -> add(it) }
        // Asked for when it is looked at, not all the time.
        menu.onShowing = { showStatus() }
        app.onChange { showStatus() }
        showStatus()
    }

    private void add(Commands.Command command) {
        MenuItem item = app.gui.installCommand("${PATH}>${command.words}".toString(), { app.run(command.name) } as Runnable)
        if (command.keys != null) {
            KeyCombination keys = KeyCombination.valueOf(command.keys)
            // QuPath would take keys that are in use from their owner.
            if (app.gui.lookupAccelerator(keys) == null) {
                app.gui.setAccelerator(item, keys)
            }
        }
    }

    private void showStatus() {
        status.text = words()
    }

    private String words() {
        if (app.connection == null) {
            return app.trouble == null ? 'Connecting …' : app.trouble.detail
        }
        Outbox outbox = app.connection.outbox
        int nWaiting = outbox.waiting().size(), nRefused = outbox.refused().size()
        List<String> parts = []
        if (nRefused) {
            parts << "${WindowWords.count(nRefused, 'change')} not accepted: decide in Review".toString()
        }
        if (nWaiting) {
            Problem why = outbox.trouble()
            String reason = why == null ? '' : why.code == Problem.UNREACHABLE ? ', the server is away' : ": ${why.detail}"
            parts << "${WindowWords.count(nWaiting, 'change')} waiting${reason}".toString()
        }
        View view = app.connection.review.view()
        if (view.state != 'closed' && view.study != null) {
            parts << "${view.study['name']}: ${state(view)}".toString()
        }
        parts ? parts.join(' · ') : "No study is open · ${app.connection.server.url}"
    }

    private static String state(View view) {
        switch (view.state) {
            case 'labelling': return "${view.labels.size()} of ${view.patches.size()} patches labelled"
            case 'indexing': return 'looking at the slide'
            case 'training': return 'learning'
            case 'session_over': return 'session over'
            case 'exhausted': return 'every patch was shown'
            case 'problem': return view.problem?.detail ?: 'not possible'
            default: return 'opening'
        }
    }
}
