// A mask imported, edited, imported again, saved, reopened and corrected, in a QuPath without windows.
// One argument: a JSON file of settings. What was found is written as JSON to its `out`; the test judges.
import com.google.gson.GsonBuilder
import qupath.lib.images.servers.ImageServerProvider
import qupath.lib.images.servers.openslide.jna.OpenSlideLoader
import qupath.lib.objects.PathObjects
import qupath.lib.objects.classes.PathClass
import qupath.lib.projects.ProjectIO
import qupath.lib.projects.Projects
import qupath.lib.regions.ImagePlane
import qupath.lib.roi.GeometryTools
import qupath.lib.roi.ROIs

import java.awt.image.BufferedImage

def gson = new GsonBuilder().serializeSpecialFloatingPointValues().create()
def settings = gson.fromJson(new File(args[0]).getText('UTF-8'), Map)
def loader = new GroovyClassLoader(getClass().classLoader)
loader.addClasspath(settings.lib)
def make = { String name, Object... given -> loader.loadClass("slideloop.$name").newInstance(given) }
def (positive, other) = settings.classes
def found = [:]

// QuPath 0.5 loads it only with its window.
OpenSlideLoader.tryToLoadQuietly('')

def server = make('Server', settings.url, null)
def study = { server.get("/studies/${settings.study}") }
def project = Projects.createProject(new File(settings.project), BufferedImage)
def builders = ImageServerProvider.getPreferredUriImageSupport(BufferedImage, new File(settings.image).toURI().toString()).builders
def imageData = project.addImage(builders[0]).readImageData()
project.syncChanges()
def hierarchy = imageData.hierarchy

def isTemporary = { it.metadata['slideloop.patch'] != null }
def mask = make('MaskImport', server, study(), settings.slide, imageData, isTemporary)
def corrections = make('Corrections', server, settings.study, settings.slide, imageData, isTemporary)

def all = { hierarchy.getAllObjects(false) }
def told = { all().collect { [id: it.ID.toString(), name: it.name, class: it.pathClass?.toString(), type: it.getClass().simpleName,
    locked: it.isLocked(), probability: it.measurementList.get('slideloop probability'), area: it.ROI.getArea()] } }
def numbers = { [removed: it.removed().size(), edited: it.edited.size(), added: it.added.size(), leftOut: it.nLeftOut, after: it.nAfter()] }
def run = { features, replace, discard = false -> mask.steps(mask.plan(features, discard), replace).each { it.run() } }
def refusal = { action -> try { action(); null } catch (Exception err) { err.code } }
def look = { corrections.plan(corrections.find(study()), []) }
def tell = { plan -> plan.corrections.collect { [id: it.drawn.id.toString(), label: it.drawn.label, how: it.drawn.how, state: it.state,
    n: it.patches.cardinality()] } }
def send = { plan -> plan.corrections.findAll { it.isPossible() }.collect {
    server.send('POST', "/studies/${settings.study}/regions", plan.body(it, false)).n_given } }
def draw = { roi, name -> def made = PathObjects.createAnnotationObject(roi, name ? PathClass.fromString(name) : null)
    hierarchy.addObjects([made])
    made }
def plane = ImagePlane.defaultPlane
def rectangle = { x, y, width, height -> ROIs.createRectangleROI(x, y, width, height, plane) }

// Imported; a second time only as a replacement.
def features = mask.fetch('detections', [], null)
run(features, false)
found.imported = told()
found.second = refusal { run(features, false) }
found.afterSecond = told()
run(features, true)
found.replaced = told()

// Saved with the project, and reopened.
found.saved = mask.save(project)
found.changed = imageData.isChanged()
def reopened = ProjectIO.loadProject(new File(settings.project, 'project.qpproj'), BufferedImage).imageList[0].readImageData()
found.reopened = numbers(make('MaskImport', server, study(), settings.slide, reopened, isTemporary).plan(features, false))

// One is given another class: it stays, and is a correction, once.
def largest = all().max { it.ROI.getArea() }
largest.setPathClass(PathClass.fromString(other))
found.edited = numbers(mask.plan(features, false))
found.discarding = numbers(mask.plan(features, true))
run(features, true)
found.kept = told()
def first = look()
found.reclassified = tell(first)
found.sent = send(first)
found.resent = send(first)
found.afterSending = tell(look())
found.nRegions = server.get("/studies/${settings.study}").n_region_labels
server.send('POST', "/studies/${settings.study}/undo", [scope: 'last', event_id: UUID.randomUUID().toString()])
found.takenBack = tell(look())

// Drawn by hand: with a hole, of two parts, round, crossing itself; and all that is left out.
hierarchy.clearAll()
draw(GeometryTools.geometryToROI(GeometryTools.createRectangle(288, 192, 672, 576).difference(GeometryTools.createRectangle(480, 384, 288, 192)), plane), other)
draw(GeometryTools.geometryToROI(GeometryTools.createRectangle(960, 192, 192, 192).union(GeometryTools.createRectangle(1200, 480, 150, 192)), plane), positive)
draw(ROIs.createEllipseROI(500, 300, 333, 250, plane), positive)
draw(ROIs.createPolygonROI([300, 700, 300, 700] as double[], [500, 800, 800, 500] as double[], plane), positive)
draw(rectangle(700.25, 300.5, 200, 200), 'Ignore*')
draw(rectangle(0, 0, 10, 10), other)
draw(ROIs.createLineROI(300, 300, 900, 900, plane), other)
draw(rectangle(400, 400, 192, 192), 'Stroma')
draw(rectangle(400, 400, 192, 192), null)
def query = study().sessions[0].query
draw(rectangle(query.x, query.y, query.width, query.height), positive)
draw(rectangle(480, 480, 96, 96), positive).metadata['slideloop.patch'] = 'of a round'
draw(rectangle(480, 480, 96, 96), positive).setName('slideloop/of another study')
def seen = corrections.find(study())
found.unknown = seen.unknownClasses as List
found.nWithoutArea = seen.nWithoutArea
def drawn = look()
found.drawn = tell(drawn)
found.drawnSent = send(drawn)
found.drawnAfter = tell(look())

// As annotations, of both classes; one is moved.
hierarchy.clearAll()
def annotations = mask.fetch('annotations', [positive, other], null)
run(annotations, false)
found.annotations = told()
def moved = all().find { it.pathClass.toString() == positive }
moved.setROI(moved.ROI.translate(5, 0))
found.moved = numbers(mask.plan(annotations, false))
found.movedIs = tell(look())

// As tiles, of one class above a threshold.
hierarchy.clearAll()
run(mask.fetch('tiles', [positive], 0.6d), false)
found.tiles = told()
new File(settings.out).setText(gson.toJson(found), 'UTF-8')
