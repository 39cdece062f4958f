// Imports a study's mask into an image of a project by the scripts, as a replacement, and saves.
// One argument: a JSON file of settings. How many were removed and added is written as JSON to its `out`.
import com.google.gson.Gson
import qupath.lib.images.servers.openslide.jna.OpenSlideLoader
import qupath.lib.projects.ProjectIO

import java.awt.image.BufferedImage

def settings = new Gson().fromJson(new File(args[0]).getText('UTF-8'), Map)
def loader = new GroovyClassLoader(getClass().classLoader)
loader.addClasspath(settings.lib)
def make = { String name, Object... given -> loader.loadClass("slideloop.$name").newInstance(given) }
OpenSlideLoader.tryToLoadQuietly('')

def server = make('Server', settings.url, null)
def study = server.get("/studies/${settings.study}")
def project = ProjectIO.loadProject(new File(settings.project as String, 'project.qpproj'), BufferedImage)
def imageData = project.imageList.find { it.ID == settings.entry }.readImageData()
def mask = make('MaskImport', server, study, settings.slide, imageData, { it.metadata['slideloop.patch'] != null })
def plan = mask.plan(mask.fetch('detections', [], null), false)
mask.steps(plan, true).each { it.run() }
mask.save(project)
new File(settings.out).setText(new Gson().toJson([removed: plan.removed().size(), added: plan.added.size()]), 'UTF-8')
