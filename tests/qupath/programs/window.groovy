// The start-up script of a QuPath that a test drives: runs ours, and does what stdin asks for.
// A line is JSON, {code, given}: Groovy, run in the thread of the window. The answer is a line of JSON.
import com.google.gson.Gson
import javafx.application.Platform
import qupath.lib.gui.QuPathGUI

import java.util.concurrent.CompletableFuture
import java.util.concurrent.TimeUnit

def gui = QuPathGUI.getInstance()
def gson = new Gson()
def told = System.out
// The line that `slideloop qupath install` gives to who has a start-up script already.
getQuPath().runScript(new File(System.getenv('TESTED_STARTUP')), null)
Thread.startDaemon('asked') {
    System.in.eachLine('UTF-8') { line ->
        def answer = new CompletableFuture()
        Platform.runLater {
            try {
                def asked = gson.fromJson(line, Map)
                def seen = new Binding(gui: gui, app: gui.stage.properties['slideloop'], given: asked.given)
                answer.complete([value: new GroovyShell(gui.getClass().classLoader, seen).evaluate(asked.code)])
            } catch (Throwable err) {
                answer.complete([error: err.toString()])
            }
        }
        told.println('ANSWER ' + gson.toJson(answer.get(60, TimeUnit.SECONDS)))
        told.flush()
    }
}
