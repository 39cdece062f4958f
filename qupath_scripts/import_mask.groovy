// Brings the mask of the open study into the image on display, as objects.
// Runs alone from the script editor, also without startup.groovy.
import javafx.application.Platform
import qupath.lib.gui.QuPathGUI

def file = binding.hasVariable('qupath.script.file') ? binding.getVariable('qupath.script.file') : null
if (file == null || QuPathGUI.getInstance() == null) {
    throw new IllegalStateException('Save this script in the folder of the slideloop scripts, and run it from there in QuPath.')
}
def app = QuPathGUI.getInstance().stage.properties['slideloop']
def loader = new GroovyClassLoader(getClass().classLoader)
loader.addClasspath(new File(new File(file as String).absoluteFile.parentFile, 'lib').path)
def type = app == null ? loader.loadClass('slideloop.App', true, false) : null
Platform.runLater { (app ?: type.current()).run('import_mask') }
