/** Which file uses which, as the sources say it. */
import { existsSync, readFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { dirname, join, normalize } from 'node:path'

/** `import ... from`, `export ... from`, `import 'x'`, `import('x')`. */
const imports = [
  /^(?:import|export)\b[\w\s{},*$]*?\bfrom\s+'([^']+)'/gm,
  /^import\s+'([^']+)'/gm,
  /\bimport\(\s*'([^']+)'\s*\)/g,
]
/** Threads and child processes. */
const started = [/\bnew URL\(\s*'(\.[^']+\.ts)'\s*,\s*import\.meta\.url/g]

const specifiersIn = (text: string, patterns: readonly RegExp[]): string[] =>
  patterns.flatMap((pattern) => [...text.matchAll(pattern)].map(([, specifier]) => specifier))

/** The package of a specifier: `typebox/value` is `typebox`; `undefined` of what Node itself brings, and of files. */
export const libraryOf = (specifier: string): string | undefined => {
  if (specifier.startsWith('.') || specifier.startsWith('node:')) return undefined
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}

export interface Uses {
  /** Files of ours, relative to the root. */
  readonly files: readonly string[]
  readonly libraries: readonly string[]
}

/**
 * What one file uses.
 * @param file relative to `root`
 * @param kind `runs`: what runs with it, so types are left out, and what it starts is not; `imports`: types too
 */
export const usesOf = (root: string, file: string, kind: 'runs' | 'imports'): Uses => {
  const text = readFileSync(join(root, file), 'utf8')
  const specifiers =
    kind === 'imports'
      ? specifiersIn(text, imports)
      : specifiersIn(file.endsWith('.ts') ? stripTypeScriptTypes(text) : text, [...imports, ...started])
  const files = specifiers
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => normalize(join(dirname(file), specifier)).replaceAll('\\', '/'))
  const libraries = specifiers.map(libraryOf).filter((library) => library !== undefined)
  return { files: files.filter((path) => existsSync(join(root, path))), libraries: [...new Set(libraries)] }
}

/** Everything that runs when these files do, at once or later. @param except files where to stop */
export const reachedFrom = (root: string, starts: readonly string[], except: readonly string[] = []): Uses => {
  const [files, libraries] = [new Set<string>(), new Set<string>()]
  const left = [...starts]
  for (let file = left.pop(); file !== undefined; file = left.pop()) {
    if (files.has(file) || except.includes(file)) continue
    files.add(file)
    if (!/\.m?[jt]s$/.test(file)) continue
    const uses = usesOf(root, file, 'runs')
    left.push(...uses.files)
    for (const library of uses.libraries) libraries.add(library)
  }
  return { files: [...files].toSorted(), libraries: [...libraries].toSorted() }
}
