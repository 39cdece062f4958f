// Loads the library as scripts in QuPath do: LIB_FOLDER
import java.util.function.Supplier

def loader = new GroovyClassLoader(getClass().classLoader)
loader.addClasspath(args[0])
println loader.loadClass('slideloop.Server').newInstance('HTTP://[::1]:8765/', { 'secret' } as Supplier)
