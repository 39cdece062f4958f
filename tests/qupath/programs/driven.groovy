// Start-up script of a QuPath that a test drives: the real startup.groovy, and one line of JSON in,
// one out, on a port that is written to a file. {code: Groovy, fx: whether in the JavaFX thread}
// gives {result} or {error}. In the code `gui` and `app` (once there is one) are bound, and `kept`, a map.
import com.google.gson.GsonBuilder
import javafx.application.Platform
import javafx.scene.Parent
import javafx.scene.control.Labeled
import javafx.stage.Stage
import javafx.stage.Window
import qupath.lib.gui.QuPathGUI
import qupath.lib.gui.prefs.PathPrefs

import java.util.concurrent.FutureTask

def settings = new GsonBuilder().create().fromJson(new File(System.getProperty('slideloop.driven')).getText('UTF-8'), Map)
PathPrefs.imageTypeSettingProperty().set(PathPrefs.ImageTypeSetting.NONE)
PathPrefs.createPersistentPreference('slideloopUrl', '').set(settings.url)
PathPrefs.userPathProperty().set(settings.user)

def gui = QuPathGUI.getInstance()
def start = new File(settings.startup)
new GroovyShell(getClass().classLoader, new Binding(['qupath.script.file': start.path])).evaluate(start)

def gson = new GsonBuilder().serializeNulls().serializeSpecialFloatingPointValues().create()
// For the tests: windows by words in their titles, and what can be read in one.
def kept = [:]
kept.window = { words -> Window.windows.find { it instanceof Stage && it.title?.contains(words) } }
kept.texts = { window ->
    def texts = [], walk = null
    walk = { node ->
        if (node.visible) {
            if (node instanceof Labeled && node.text) {
                texts << node.text
            }
            if (node instanceof Parent) {
                node.childrenUnmodifiable.each(walk)
            }
        }
    }
    if (window != null) {
        walk(window.scene.root)
    }
    texts.unique()
}
def binding = new Binding([gui: gui, kept: kept])
def shell = new GroovyShell(getClass().classLoader, binding)
def imports = '''import javafx.scene.*; import javafx.scene.control.*; import javafx.stage.*; import qupath.lib.objects.*
import qupath.lib.objects.classes.PathClass; import qupath.lib.regions.*; import qupath.lib.roi.*; import java.awt.image.BufferedImage
'''
def answer = { Map asked ->
    binding.setVariable('app', gui.stage.properties['slideloop'])
    def task = new FutureTask({ shell.evaluate(imports + asked.code) })
    asked.fx ? Platform.runLater(task) : task.run()
    task.get()
}
def socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())
Thread.startDaemon('driven') {
    def client = socket.accept()
    client.inputStream.eachLine('UTF-8') { line ->
        def said
        try {
            said = [result: answer(gson.fromJson(line, Map))]
        } catch (Throwable err) {
            said = [error: "${err.cause ?: err}".toString()]
        }
        client.outputStream << (gson.toJson(said) + '\n').getBytes('UTF-8')
        client.outputStream.flush()
    }
}
def port = new File(settings.port)
new File(port.path + '.part').text = socket.localPort
new File(port.path + '.part').renameTo(port)
