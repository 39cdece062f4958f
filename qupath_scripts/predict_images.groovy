// Predicts other images of the open project by the open study, and brings the masks in.
if (!binding.hasVariable('qupath.script.file')) {
    throw new IllegalStateException('Open this script from the folder of the slideloop scripts, and run it from there.')
}
def lib = new File(new File(binding.getVariable('qupath.script.file') as String).absoluteFile.parentFile, 'lib')
new GroovyClassLoader(getClass().classLoader).parseClass(new File(lib, 'Loading.groovy')).run(lib, 'predict_images')
