/** The relay as a process: `mesh relay` starts it. With --json it prints one line of JSON when it is ready. */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { printFatal } from '../shared/fatal.ts'
import { parseFlags } from '../shared/flags.ts'
import { openHome, writeStateJson } from '../shared/home.ts'
import { loadKey, saveKey } from '../shared/identity/device-key.ts'
import { type KeyPair, newKeyPair } from '../shared/identity/keys.ts'
import { untilSignal } from '../shared/lifecycle.ts'
import { createLogger } from '../shared/log.ts'
import { startRelay } from './relay.ts'

const defaultPort = 4001

/** The relay keeps its identity over restarts: its address contains it. */
const ownKey = (file: string): KeyPair => {
  const known = loadKey(file)
  if (known) return known
  const key = newKeyPair()
  saveKey(file, key)
  return key
}

const run = async (): Promise<void> => {
  const options = parseFlags(['host', 'port', 'data', 'announce', 'maxReservations', 'logLevel', 'json'], parseArgs)
  const logger = createLogger('relay', options.logLevel)
  const files = openHome().relay
  const place = (file: string, name: string): string => (options.data === undefined ? file : join(options.data, name))
  const settings = { host: options.host, port: options.port ?? defaultPort, announce: options.announce, maxReservations: options.maxReservations }
  const relay = await startRelay({ key: ownKey(place(files.key, 'relay.key')), ...settings })
  writeStateJson(place(files.config, 'relay.json'), { ...settings, addresses: relay.addresses })
  process.stdout.write(options.json ? `${JSON.stringify({ event: 'ready', addresses: relay.addresses })}\n` : `relay runs; agents reach it with\n${relay.addresses.map((address) => `  mesh start --relay ${address}\n`).join('')}`)
  logger.info({ addresses: relay.addresses }, 'relay ready')
  logger.info({ signal: await untilSignal() }, 'stopping')
  await relay.stop()
}

try {
  await run()
} catch (error) {
  process.exitCode = printFatal(error)
}
