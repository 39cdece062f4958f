// Compares our signature stubs with the classes of this QuPath. One argument: a JSON file of settings.
// What a stub promises and the class does not keep is written, a sentence each, to its `out`.
import com.google.gson.Gson
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.CompilerConfiguration

import java.lang.reflect.Modifier

/** The stubs' classes before QuPath's of the same name; everything else is QuPath's. */
class Stubs extends URLClassLoader {
    private final Set names

    Stubs(File classes, Set names, ClassLoader parent) {
        super([classes.toURI().toURL()] as URL[], parent)
        this.names = names
    }

    @Override
    protected Class<?> loadClass(String name, boolean resolve) {
        name in names ? (findLoadedClass(name) ?: findClass(name)) : super.loadClass(name, resolve)
    }
}

def settings = new Gson().fromJson(new File(args[0]).getText('UTF-8'), Map)
def parent = getClass().classLoader
def target = new File(settings.classes as String)
def unit = new CompilationUnit(new CompilerConfiguration(targetDirectory: target, targetBytecode: '17'))
new File(settings.stubs as String).eachFileRecurse { if (it.name.endsWith('.groovy')) unit.addSource(it) }
unit.compile()

def names = []
target.eachFileRecurse {
    if (it.name.endsWith('.class')) names << target.toPath().relativize(it.toPath()).join('.')[0..<-'.class'.length()]
}
def stubs = new Stubs(target, names as Set, parent)
def written = { types -> types*.name.join(', ') }
def inherited
inherited = { type -> type == null ? [] : [type] + inherited(type.superclass) + type.interfaces.collectMany { inherited(it) } }
def broken = [], nCompared = 0
names.findAll { !it.contains('_closure') }.sort().each { name ->
    def stub = stubs.loadClass(name)
    def real
    try {
        real = Class.forName(name, false, parent)
    } catch (ClassNotFoundException ignored) {
        broken << "There is no $name."
        return
    }
    if (stub.isInterface() != real.isInterface()) {
        broken << "$name: one is an interface, the other is none."
    }
    def ours = { !it.synthetic && !it.name.contains('$') && !(it.name in ['getMetaClass', 'setMetaClass', 'invokeMethod', 'getProperty', 'setProperty']) }
    stub.declaredMethods.findAll(ours).each { promised ->
        nCompared++
        def kept = inherited(real).collectMany { it.declaredMethods.toList() }.find {
            it.name == promised.name && written(it.parameterTypes) == written(promised.parameterTypes) &&
                it.returnType.name == promised.returnType.name && Modifier.isStatic(it.modifiers) == Modifier.isStatic(promised.modifiers) &&
                (Modifier.isPublic(it.modifiers) || Modifier.isProtected(it.modifiers))
        }
        if (kept == null) {
            broken << "${promised.returnType.name} ${name}.${promised.name}(${written(promised.parameterTypes)}) is not in this QuPath."
        }
    }
    stub.declaredFields.findAll { ours(it) && Modifier.isPublic(it.modifiers) }.each { promised ->
        nCompared++
        if (!real.fields.any { it.name == promised.name && it.type.name == promised.type.name }) {
            broken << "${promised.type.name} ${name}.${promised.name} is not in this QuPath."
        }
    }
    def isMade = { !stub.isInterface() && !it.synthetic && it.parameterCount > 0 }
    stub.declaredConstructors.findAll(isMade).each { promised ->
        nCompared++
        if (!real.declaredConstructors.any { written(it.parameterTypes) == written(promised.parameterTypes) && !Modifier.isPrivate(it.modifiers) }) {
            broken << "${name}(${written(promised.parameterTypes)}) cannot be made in this QuPath."
        }
    }
}
new File(settings.out as String).setText(new Gson().toJson([n: nCompared, broken: broken*.toString()]), 'UTF-8')
