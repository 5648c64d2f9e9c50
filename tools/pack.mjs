/**
 * What `npm pack` puts into the package: `prepack` calls it, `postpack` calls it with --restore.
 *
 * Node strips no types below node_modules, so `dist` holds the sources without them, with a folder layout, package.json
 * and lock file of their own. The package itself names no dependencies: npm would take other versions than the lock
 * file's and run their install scripts. `setup.mjs` installs them after it, as it does in a clone.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const dist = join(root, 'dist')
const manifestFile = join(root, 'package.json')
/** The project's own, while the one for strangers is in its place. */
const keptFile = join(root, '.cache', 'package.json.before-pack')

const parts = ['agent', 'bench', 'control-plane', 'relay-server', 'shared', 'tools', 'models']
const isLeftOut = (path) => /\.test\.ts$|\.d\.mts$|[\\/]test$|[\\/]pack\.mjs$|[\\/]recipe$/.test(path)

/** Relative paths of modules, in imports and in URLs of threads and child processes. */
const modulePath = /(['"])(\.{1,2}\/[^'"\n]*)\.ts\1/g

const compile = (text) => stripTypeScriptTypes(text).replace(modulePath, '$1$2.js$1')

const copy = (from, to) => {
  mkdirSync(to, { recursive: true })
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const path = join(from, entry.name)
    if (isLeftOut(path)) continue
    if (entry.isDirectory()) copy(path, join(to, entry.name))
    else if (entry.name.endsWith('.ts')) {
      writeFileSync(join(to, entry.name.replace(/\.ts$/, '.js')), compile(readFileSync(path, 'utf8')))
    } else cpSync(path, join(to, entry.name))
  }
}

const build = (manifest) => {
  rmSync(dist, { recursive: true, force: true })
  for (const part of parts) copy(join(root, part), join(dist, part))
  cpSync(join(root, 'package-lock.json'), join(dist, 'package-lock.json'))
  writeFileSync(join(dist, 'package.json'), `${JSON.stringify({ ...manifest, scripts: undefined }, undefined, 2)}\n`)
}

/** What npm shows and does when it installs the package. */
const forStrangers = ({ name, version, description, license, type, engines }) => ({
  name,
  version,
  description,
  license,
  type,
  engines,
  bin: { mesh: 'dist/tools/mesh.mjs' },
  files: ['dist'],
  scripts: { postinstall: 'node dist/tools/setup.mjs --production --only-install' },
})

const restore = () => {
  if (existsSync(keptFile)) renameSync(keptFile, manifestFile)
}

restore() // one that was killed
if (process.argv[2] !== '--restore') {
  const manifest = JSON.parse(readFileSync(manifestFile, 'utf8'))
  build(manifest)
  mkdirSync(dirname(keptFile), { recursive: true })
  cpSync(manifestFile, keptFile)
  writeFileSync(manifestFile, `${JSON.stringify(forStrangers(manifest), undefined, 2)}\n`)
}
