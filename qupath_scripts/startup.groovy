// Installs Extensions > slideloop. Choose this file once in QuPath's preferences, as start-up script;
// it can also be run from the script editor.
import javafx.application.Platform
import qupath.lib.gui.QuPathGUI

def file = binding.hasVariable('qupath.script.file') ? binding.getVariable('qupath.script.file') : null
if (file == null) {
    throw new IllegalStateException('Save this script in the folder of the slideloop scripts, and run it from there.')
}
if (QuPathGUI.getInstance() == null) {
    println 'slideloop: there is no QuPath window, so there is no menu to install.'
    return
}
def lib = new File(new File(file as String).absoluteFile.parentFile, 'lib')
def loader = new GroovyClassLoader(getClass().classLoader)
loader.addClasspath(lib.path)
// Compiling takes seconds: not in the thread of the window.
Thread.startDaemon('slideloop-start') {
    try {
        def classes = ['MenuInstaller', 'App', 'Warming'].collectEntries { [it, loader.loadClass("slideloop.$it", true, false)] }
        classes.Warming.warm()
        Platform.runLater {
            classes.MenuInstaller.install(classes.App.renewed())
        }
    } catch (Throwable err) {
        org.slf4j.LoggerFactory.getLogger('slideloop').error("slideloop cannot start from {}", lib, err)
    }
}
