// Compiles Groovy sources: TARGET {plain,typed} CLASSPATH SOURCE_FOLDER...
// typed: as if every class had @TypeChecked, so that a misspelt method is an error.
import groovy.transform.TypeChecked
import org.codehaus.groovy.control.CompilationFailedException
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.customizers.ASTTransformationCustomizer

def (target, mode, classpath) = args
def settings = new CompilerConfiguration(targetDirectory: new File(target), targetBytecode: '17', classpath: classpath)
if (mode == 'typed') {
    settings.addCompilationCustomizers(new ASTTransformationCustomizer(TypeChecked))
}
def unit = new CompilationUnit(settings)
args.drop(3).each { folder ->
    new File(folder).eachFileRecurse { if (it.name.endsWith('.groovy')) unit.addSource(it) }
}
try {
    unit.compile()
} catch (CompilationFailedException err) {
    System.err.println(err.message)
    System.exit(1)
}
