/**
 * Parts of Mesh that a machine may have without the rest: a host of relay or control plane computes nothing, and needs
 * none of the libraries for that.
 *
 * Plain JavaScript without dependencies that Node 18 understands: `setup.mjs` uses it before anything else runs.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { SetupError } from './setup-error.mjs'

/** What `mesh` itself needs, with every command that no other part is needed for, and the Node that runs it. */
const commandLine = [
  '@hpke/core',
  '@noble/ed25519',
  '@noble/hashes',
  'cbor-x',
  'commander',
  'eventsource-parser',
  'node',
  'pino',
  'qrcode-terminal',
  'typebox',
  'undici',
]

/** Part -> its folder, and the packages that it imports besides those of the command line (parts.test.ts compares). */
export const parts = {
  relay: {
    folder: 'relay-server',
    libraries: [
      '@chainsafe/libp2p-noise',
      '@chainsafe/libp2p-yamux',
      '@libp2p/circuit-relay-v2',
      '@libp2p/crypto',
      '@libp2p/identify',
      '@libp2p/tcp',
      '@libp2p/tls',
      '@multiformats/multiaddr',
      'libp2p',
    ],
  },
  'control-plane': {
    folder: 'control-plane',
    libraries: [
      '@fastify/swagger',
      '@fastify/swagger-ui',
      '@fastify/websocket',
      '@peculiar/x509',
      'better-sqlite3',
      'drizzle-orm',
      'fastify',
      'reflect-metadata',
    ],
  },
}

/** Folders that only a machine needs which computes. */
const computing = ['bench', 'models']

/** @param text `relay`, `control-plane`, or both with a comma; @returns their names; `undefined`: it is neither */
export const partsIn = (text) => {
  const names = text.split(',')
  return names.every((name) => Object.hasOwn(parts, name))
    ? Object.keys(parts).filter((name) => names.includes(name))
    : undefined
}

/** Packages that a machine with these parts alone has, by name. */
export const librariesOf = (names) => [...commandLine, ...names.flatMap((name) => parts[name].libraries)]

const chosen = (table, libraries) =>
  Object.fromEntries(Object.entries(table).filter(([name]) => libraries.includes(name)))

/** The same manifest, or the entry of the lock file that repeats it, with fewer dependencies. */
const reduced = (manifest, libraries) => ({
  ...manifest,
  dependencies: chosen(manifest.dependencies, libraries),
  devDependencies: undefined,
  optionalDependencies: undefined,
})

const change = (file, edit) =>
  writeFileSync(file, `${JSON.stringify(edit(JSON.parse(readFileSync(file, 'utf8'))), undefined, 2)}\n`)

/**
 * Leaves these parts in a copy of Mesh, and nothing that computes. What npm installs follows from it: its versions stay
 * those of the lock file. `config.only` says so to whoever runs it.
 * @param root of a copy that nothing is installed in yet; not of a clone
 */
const keepOnly = (root, names) => {
  const libraries = librariesOf(names)
  change(join(root, 'package-lock.json'), (lock) => ({
    ...lock,
    packages: { ...lock.packages, '': reduced(lock.packages[''], libraries) },
  }))
  const others = Object.entries(parts).filter(([name]) => !names.includes(name))
  for (const folder of [...computing, ...others.map(([, part]) => part.folder)])
    rmSync(join(root, folder), { recursive: true, force: true })
  // last, since it says that all of this is done
  change(join(root, 'package.json'), (manifest) => ({
    ...reduced(manifest, libraries),
    config: { ...manifest.config, only: names },
  }))
}

/** @param text what `--only` or the variable was given. @returns names of parts; @throws SetupError */
const readParts = (text, source) => {
  const names = partsIn(text)
  if (names === undefined)
    throw new SetupError(
      `${source} wants ${Object.keys(parts).join(', ')} or both with a comma, got "${text}"`,
      'leave it out to install all of Mesh',
    )
  return names
}

const isClone = (root) => existsSync(join(root, 'test'))

/** Parts that this folder was told to have alone. */
const partsKept = (root) => JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).config?.only

/**
 * Leaves nothing but the named parts here, before anything is installed.
 * @throws SetupError in a clone, whose files are not ours to remove, and where other parts were left out before
 */
export const reduceTo = (root, names) => {
  const kept = partsKept(root)
  if (kept !== undefined && names.every((name) => kept.includes(name))) return
  if (kept !== undefined)
    throw new SetupError(`${root} has ${kept.join(' and ')} alone`, 'install Mesh again, from where it came')
  if (isClone(root))
    throw new SetupError('a clone keeps all of its parts', './install.sh --only relay installs one of them elsewhere')
  keepOnly(root, names)
}

/**
 * Parts that are wanted alone.
 * @param option of `--only`; @param variable of MESHNET_ONLY, for the npm package, whose installation takes no options
 * @throws SetupError
 */
export const wantedParts = (root, option, variable) => {
  if (option !== undefined) return readParts(option, '--only')
  if (!variable || isClone(root) || partsKept(root) !== undefined) return undefined
  return readParts(variable, 'MESHNET_ONLY')
}
