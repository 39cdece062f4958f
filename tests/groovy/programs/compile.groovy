// Compiles Groovy sources, one step after the other: CLASSPATH (MODE SOURCE_FOLDER TARGET_FOLDER)...
// Mode typed: as if every class had @TypeChecked, so that a misspelt method is an error; plain; or
// slips: as typed, and an error if it is none.
import groovy.transform.TypeChecked
import org.codehaus.groovy.control.CompilationFailedException
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.customizers.ASTTransformationCustomizer

def classpath = args[0]

def compile = { mode, sources, target ->
    classpath += File.pathSeparator + target
    def settings = new CompilerConfiguration(targetDirectory: new File(target), targetBytecode: '17', classpath: classpath)
    if (mode != 'plain') {
        settings.addCompilationCustomizers(new ASTTransformationCustomizer(TypeChecked))
    }
    def unit = new CompilationUnit(settings)
    new File(sources).eachFileRecurse { if (it.name.endsWith('.groovy')) unit.addSource(it) }
    unit.compile()
}

args.drop(1).toList().collate(3).each { mode, sources, target ->
    def complaint = null
    try {
        compile(mode, sources, target)
    } catch (CompilationFailedException err) {
        complaint = err.message
    }
    if ((mode == 'slips') != (complaint != null)) {
        System.err.println(complaint ?: "Nothing is found wrong with ${sources}.")
        System.exit(1)
    }
}
