/**
 * Where state lives, and how it is written: every path under `MESHNET_HOME` is named here and nowhere else.
 * Files are replaced by rename after fsync, so a crash leaves the old or the new content, never half of one.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { MeshError, problemOf, systemCodeOf } from './errors.ts'
import { makeFolder } from './make-folder.ts'
import { homeFromEnvironment } from './options.ts'

/** Paths of one home folder. */
export interface Home {
  readonly root: string
  readonly deviceKey: string
  readonly config: string
  /**
   * Folder of one pool: certificate, root public key, invites made here, the end of the ledger as it was checked last
   * and, on the device that made it, the root key.
   */
  pool(poolId: string): {
    readonly folder: string
    readonly config: string
    readonly certificate: string
    readonly rootKey: string
    readonly ledgerHead: string
    readonly invites: string
    readonly revocations: string
    readonly controlPlanePin: string
  }
  readonly pools: string
  /** Models by name and where they lie; see `agent/library`. */
  readonly library: string
  /** Model folders by id, besides the bundled ones. */
  readonly models: string
  /** Quantised shards, one folder per content hash. */
  readonly shards: string
  /** Hashes of weights that were read whole, one file for each of theirs. */
  readonly hashes: string
  /** Half layers that spot checks compute with; without names where the system can do that. */
  readonly checks: string
  /** What the running agent says of itself; read by `mesh status` and `mesh shard-status`. */
  readonly agentState: string
  /** Held by the running agent: one for a home (`folder-lock.ts`). */
  readonly agentLock: string
  /** The `mesh up` or `mesh start` that runs from this home; see `agent/cli/service-record.ts`. */
  readonly service: string
  readonly serviceLock: string
  /** Rings this device wants to take part in, so that the agent finds the model folder again after a restart. */
  readonly rings: string
  /** What the programs write that `mesh up` runs, one file each. */
  readonly logs: string
  /** Where the other devices of our pools were met; see `schema/known-peers.ts`. */
  readonly knownPeers: string
  /** Certificate of the control plane that this device uses, for programs that are told to trust it. */
  readonly trusted: string
  /**
   * What the control plane has not confirmed yet of jobs that ended here, one file for each: answers, and reports on
   * own work.
   */
  readonly outbox: { readonly answers: string; readonly reports: string }
  /** Memory locks: one file per signed statement, and the cooldown as it was last written down. */
  readonly locks: { readonly folder: string; readonly countdown: string }
  /**
   * Of a control plane that runs from here: database, its key, and the certificate of the key that browsers and apps
   * are told to trust.
   */
  readonly controlPlane: {
    readonly folder: string
    readonly database: string
    readonly key: string
    readonly certificate: string
  }
  readonly relay: {
    readonly folder: string
    readonly key: string
    readonly config: string
    readonly lists: string
    readonly lock: string
  }
}

/** What a control plane keeps in its data folder. */
export const controlPlaneFolder = (folder: string): Home['controlPlane'] => ({
  folder,
  database: join(folder, 'mesh.sqlite'),
  key: join(folder, 'control-plane.key'),
  certificate: join(folder, 'control-plane.crt'),
})

export const openHome = (root: string = homeFromEnvironment() ?? join(homedir(), '.meshnet')): Home => {
  const at = (...parts: string[]): string => resolve(root, ...parts)
  return {
    root: at(),
    deviceKey: at('device.key'),
    config: at('device.json'),
    pools: at('pools'),
    pool: (poolId) => ({
      folder: at('pools', poolId),
      config: at('pools', poolId, 'pool.json'),
      certificate: at('pools', poolId, 'membership.cert'),
      rootKey: at('pools', poolId, 'pool-root.key'),
      ledgerHead: at('pools', poolId, 'ledger-head.json'),
      revocations: at('pools', poolId, 'revocations'),
      controlPlanePin: at('pools', poolId, 'control-plane-pin'),
      invites: at('pools', poolId, 'invites'),
    }),
    library: at('library'),
    models: at('models'),
    shards: at('shards'),
    hashes: at('hashes'),
    checks: at('checks'),
    agentState: at('run', 'agent.json'),
    agentLock: at('run', 'agent.lock'),
    service: at('run', 'service.json'),
    serviceLock: at('run', 'service.lock'),
    rings: at('rings.json'),
    logs: at('logs'),
    knownPeers: at('peers.json'),
    trusted: at('trusted-control-plane.crt'),
    outbox: { answers: at('outbox', 'answers'), reports: at('outbox', 'reports') },
    locks: { folder: at('resource-lock'), countdown: at('resource-lock', 'countdown.json') },
    controlPlane: controlPlaneFolder(at('control-plane')),
    relay: {
      folder: at('relay'),
      key: at('relay', 'relay.key'),
      config: at('relay', 'relay.json'),
      lists: at('relay', 'revocations'),
      lock: at('relay', 'relay.lock'),
    },
  }
}

const isMissing = (error: unknown): boolean => systemCodeOf(error) === 'ENOENT'

/** Content of a file, or `undefined` when there is none. @throws MeshError `stateUnreadable` */
export const readState = (file: string): Buffer | undefined => {
  try {
    return readFileSync(file)
  } catch (error) {
    if (isMissing(error)) return undefined
    throw new MeshError('stateUnreadable', { file, problem: problemOf(error) }, error)
  }
}

/**
 * A JSON file, or `undefined` when there is none. The caller checks the content.
 * @throws MeshError `stateUnreadable`
 */
export const readStateJson = (file: string): unknown => {
  const bytes = readState(file)
  if (bytes === undefined) return undefined
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch (error) {
    throw new MeshError('stateUnreadable', { file, problem: problemOf(error) }, error)
  }
}

/**
 * A rename is safe from a power cut only when its folder is written too; some systems cannot, and lose nothing else.
 */
const syncFolder = (folder: string): void => {
  try {
    const handle = openSync(folder, 'r')
    try {
      fsyncSync(handle)
    } finally {
      closeSync(handle)
    }
  } catch {
    // Windows opens no folders
  }
}

/** Writes beside the file, then lets `place` put it there. @throws MeshError `stateUnwritable` */
const writeBeside = (
  file: string,
  content: string | Uint8Array,
  { mode, place }: { readonly mode: number; place(temporary: string): void },
): void => {
  const temporary = `${file}.${randomBytes(4).toString('hex')}.tmp`
  try {
    makeFolder(dirname(file), 0o700)
    const handle = openSync(temporary, 'w', mode)
    try {
      const bytes = typeof content === 'string' ? Buffer.from(content) : content
      for (let at = 0; at < bytes.length;) at += writeSync(handle, bytes, at)
      fsyncSync(handle)
    } finally {
      closeSync(handle)
    }
    place(temporary)
    syncFolder(dirname(file))
  } catch (error) {
    try {
      rmSync(temporary, { force: true })
    } catch {
      // it could not be made either; the first failure is the one to tell
    }
    throw new MeshError('stateUnwritable', { file, problem: problemOf(error) }, error)
  }
}

/**
 * Writes a file whole or not at all.
 * @param mode 0o600 for keys: readable by the owner alone
 * @throws MeshError `stateUnwritable`
 */
export const writeState = (file: string, content: string | Uint8Array, mode = 0o644): void =>
  writeBeside(file, content, { mode, place: (temporary) => renameSync(temporary, file) })

/**
 * Makes a file whole or not at all, unless there is one: of several processes that try, one succeeds.
 * @returns false when the file exists already. @throws MeshError `stateUnwritable`
 */
export const createState = (file: string, content: string, mode = 0o644): boolean => {
  let created = true
  writeBeside(file, content, {
    mode,
    place: (temporary) => {
      try {
        linkSync(temporary, file)
      } catch (error) {
        if (systemCodeOf(error) !== 'EEXIST') throw error
        created = false
      }
      rmSync(temporary, { force: true })
    },
  })
  return created
}

export const writeStateJson = (file: string, value: unknown): void =>
  writeState(file, `${JSON.stringify(value, null, 2)}\n`)
