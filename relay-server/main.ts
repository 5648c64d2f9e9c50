/** The relay as a process: `mesh relay` starts it. With --json it prints one line of JSON when it is ready. */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { MeshError } from '../shared/errors.ts'
import { jsonWanted, printFatal } from '../shared/fatal.ts'
import { parseProgram } from '../shared/flags.ts'
import { lockFolder } from '../shared/folder-lock.ts'
import { openHome } from '../shared/home.ts'
import { ownKey } from '../shared/identity/device-key.ts'
import { untilSignal } from '../shared/lifecycle.ts'
import { watchOutput } from '../shared/output-watch.ts'
import { jsonLine } from '../shared/printed.ts'
import { RelayReady } from '../shared/schema/ready.ts'
import { createLogger } from '../shared/log.ts'
import { keepInterfaces } from '../shared/network-interfaces.ts'
import { startRelay } from './relay.ts'
import { readSettings, writeSettings } from './settings.ts'

/** What it ran with last. `--open` forgets the pools. @throws MeshError `usage` (`--open` beside `--pool`) | `stateUnreadable` */
const knownSettings = (
  file: string,
  { open, named }: { readonly open: boolean; readonly named: boolean },
): ReturnType<typeof readSettings> => {
  if (open && named)
    throw new MeshError('usage', { problem: '--open serves everyone, --pool some only: give one of them' })
  const { servedPools, ...settings } = readSettings(file)
  return open ? settings : { ...settings, servedPools }
}

const readyText = (addresses: readonly string[], pools: readonly string[]): string => {
  const whom =
    pools.length === 0
      ? 'everyone (mesh relay --pool ID: members of a pool only)'
      : `members of ${pools.length === 1 ? 'pool' : 'the pools'} ${pools.join(', ')}`
  return `relay runs and serves ${whom}; agents reach it with\n${addresses.map((address) => `  mesh start --relay ${address}\n`).join('')}`
}

const run = async (): Promise<void> => {
  const own = openHome().relay
  const filesIn = (folder: unknown): Omit<typeof own, 'folder'> =>
    typeof folder === 'string'
      ? {
          key: join(folder, 'relay.key'),
          config: join(folder, 'relay.json'),
          lists: join(folder, 'revocations'),
          lock: join(folder, 'relay.lock'),
        }
      : own
  const options = parseProgram('relay', parseArgs, {
    defaults: ({ data, open, servedPools }) =>
      knownSettings(filesIn(data).config, { open: open === true, named: servedPools !== undefined }),
  })
  const logger = createLogger('relay', options.logLevel)
  const files = filesIn(options.data)
  keepInterfaces(logger)
  const settings = {
    host: options.host,
    port: options.port,
    announce: options.announce,
    maxReservations: options.maxReservations,
    servedPools: options.servedPools,
  }
  const ended = Promise.race([untilSignal(), watchOutput().lost]) // from here on: who reads that we are ready may stop us at once
  const lock = await lockFolder(files.lock, 'a relay')
  const key = ownKey(files.key) // its address contains it, so it stays over restarts
  const relay = await startRelay({ key, ...settings, pools: settings.servedPools, lists: files.lists, logger })
  writeSettings(files.config, settings, relay.addresses)
  process.stdout.write(
    options.json
      ? jsonLine(RelayReady, { event: 'ready', addresses: relay.addresses, pools: settings.servedPools })
      : readyText(relay.addresses, settings.servedPools),
  )
  logger.info({ addresses: relay.addresses, pools: settings.servedPools }, 'relay ready')
  logger.info({ signal: await ended }, 'stopping')
  await relay.stop()
  lock.release()
}

try {
  await run()
} catch (error) {
  process.exitCode = printFatal(MeshError.from(error).withHelp('relay'), { json: jsonWanted() })
}
