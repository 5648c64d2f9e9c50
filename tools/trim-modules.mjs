/**
 * Leaves out of an installation what Mesh never reads: native code of other systems, sources of native code (nothing
 * is compiled here), source maps; and type declarations where nobody develops.
 *
 * Packages that carry binaries for every system cannot be told to install one of them only, so this runs after npm.
 * Plain JavaScript without dependencies that Node 18 understands: `setup.mjs` uses it before anything else runs.
 */
import { lstatSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'

/** Part of the stamp of an installation: change it when more is left out, and older ones are trimmed as well. */
export const trimVersion = 'trimmed-1'

/** How packages name systems and processors in paths: as Node does, and as their tools do. */
const platforms = {
  aix: ['aix'],
  android: ['android'],
  darwin: ['darwin', 'macos', 'mac', 'osx'],
  freebsd: ['freebsd'],
  linux: ['linux', 'linuxmusl', 'linuxglibc'],
  openbsd: ['openbsd'],
  win32: ['win32', 'windows', 'win'],
}
const processors = {
  arm: ['arm', 'armv6', 'armv7', 'armv7l'],
  arm64: ['arm64', 'aarch64'],
  ia32: ['ia32', 'x86'],
  loong64: ['loong64'],
  ppc64: ['ppc64', 'ppc64le'],
  riscv64: ['riscv64'],
  s390x: ['s390x'],
  x64: ['x64', 'amd64'],
}

const isBinary = (name) => /\.(node|dll|dylib|exe|pdb|lib|so(\.[\d.]+)?)$/.test(name)
const isNativeSource = (name) => /\.(c|cc|cpp|cxx|h|hh|hpp|hxx|gyp|gypi)$/.test(name)
const isSourceMap = (name) => name.endsWith('.map')
/** Node runs no TypeScript below node_modules, so sources in it are for tools as declarations are. */
const isTypeScript = (name) => /\.[cm]?ts$/.test(name)

const namesIn = (table, words) => Object.keys(table).filter((key) => table[key].some((word) => words.includes(word)))

/**
 * Whether a binary is for another system, by the words of its path: it must name a system (`prebuilds/darwin-arm64`),
 * since words like `x64` alone also name variants for one system.
 * @param path inside its package, with `/`
 */
export const isForeignBinary = (path, { platform, arch }) => {
  if (!isBinary(path)) return false
  const words = path.toLowerCase().split(/[/._-]/)
  const systems = namesIn(platforms, words)
  if (systems.length === 0) return false
  const kinds = namesIn(processors, words)
  return !systems.includes(platform) || (kinds.length > 0 && !kinds.includes(arch))
}

/** A package that names one system in package.json: npm chose it, so what it holds is for this machine. */
const isForOneSystem = (folder) => {
  try {
    const { os } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    return Array.isArray(os) && os.length === 1 && !os[0].startsWith('!')
  } catch {
    return false
  }
}

const isUnused = (file, { inside, chosen, machine, production }) =>
  isSourceMap(file) ||
  isNativeSource(file) ||
  (production && isTypeScript(file)) ||
  (!chosen && isForeignBinary(inside, machine))

/** Removes what is unused; a folder in which nothing is left then goes too. @returns whether it is gone */
const trimFolder = (folder, place, total) => {
  const entries = readdirSync(folder, { withFileTypes: true })
  let left = 0
  for (const entry of entries) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) {
      if (!trimFolder(path, placeIn(place, entry.name, path), total)) left++
      continue
    }
    const inside = `${place.inside}/${entry.name}`
    if (!entry.isFile() || !isUnused(entry.name, { ...place, inside })) {
      left++
      continue
    }
    total.bytes += lstatSync(path).size
    total.files++
    rmSync(path)
  }
  if (left > 0 || entries.length === 0) return false
  rmSync(folder, { recursive: true })
  return true
}

/** What is known of a folder: its path inside its package, and whether npm chose that package for this machine. */
const placeIn = (place, name, path) => {
  if (name === 'node_modules') return { ...place, inside: '', depth: 0 }
  if (place.depth === 0 && name.startsWith('@')) return place
  if (place.depth === 0) return { ...place, inside: '', depth: 1, chosen: isForOneSystem(path) }
  return { ...place, inside: `${place.inside}/${name}`, depth: place.depth + 1 }
}

/**
 * @param modules path of node_modules; links in it are not followed
 * @param options `machine`: `platform` and `arch` as `process` names them; `production`: no type declarations
 * @returns what was removed: `files`, `bytes`
 */
export const trimModules = (modules, { machine, production }) => {
  const total = { files: 0, bytes: 0 }
  trimFolder(modules, { inside: '', depth: 0, chosen: false, machine, production }, total)
  return total
}
