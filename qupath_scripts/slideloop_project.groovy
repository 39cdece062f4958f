// Predicts the images of a project by a study of the server, and imports the masks; without windows, and
// without --project:  QuPath script slideloop_project.groovy --args settings.json
if (!binding.hasVariable('qupath.script.file')) {
    throw new IllegalStateException('Run this script from the folder of the slideloop scripts, by its path.')
}
if (args.size() != 1) {
    throw new IllegalArgumentException('Give one file of settings: QuPath script slideloop_project.groovy --args settings.json')
}
def lib = new File(new File(binding.getVariable('qupath.script.file') as String).absoluteFile.parentFile, 'lib')
def loading = new GroovyClassLoader(getClass().classLoader).parseClass(new File(lib, 'Loading.groovy'))
loading.load(lib).loadClass('slideloop.ProjectRun').getMethod('start', File).invoke(null, new File(args[0]).absoluteFile)
