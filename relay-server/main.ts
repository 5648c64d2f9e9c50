/** The relay as a process: `mesh relay` starts it. With --json it prints one line of JSON when it is ready. */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { printFatal } from '../shared/fatal.ts'
import { parseFlags } from '../shared/flags.ts'
import { openHome } from '../shared/home.ts'
import { loadKey, saveKey } from '../shared/identity/device-key.ts'
import { type KeyPair, newKeyPair } from '../shared/identity/keys.ts'
import { untilSignal } from '../shared/lifecycle.ts'
import { defaultPorts } from '../shared/options.ts'
import { createLogger } from '../shared/log.ts'
import { startRelay } from './relay.ts'
import { readSettings, writeSettings } from './settings.ts'

/** The relay keeps its identity over restarts: its address contains it. */
const ownKey = (file: string): KeyPair => {
  const known = loadKey(file)
  if (known) return known
  const key = newKeyPair()
  saveKey(file, key)
  return key
}

const run = async (): Promise<void> => {
  const own = openHome().relay
  const filesIn = (folder: unknown): { readonly key: string; readonly config: string } =>
    typeof folder === 'string' ? { key: join(folder, 'relay.key'), config: join(folder, 'relay.json') } : own
  const options = parseFlags(['host', 'port', 'data', 'announce', 'maxReservations', 'logLevel', 'json'], parseArgs, { defaults: ({ data }) => readSettings(filesIn(data).config) })
  const logger = createLogger('relay', options.logLevel)
  const files = filesIn(options.data)
  const settings = { host: options.host, port: options.port ?? defaultPorts.relay, announce: options.announce, maxReservations: options.maxReservations }
  const signal = untilSignal() // from here on: who reads that we are ready may stop us at once
  const relay = await startRelay({ key: ownKey(files.key), ...settings })
  writeSettings(files.config, settings, relay.addresses)
  process.stdout.write(options.json ? `${JSON.stringify({ event: 'ready', addresses: relay.addresses })}\n` : `relay runs; agents reach it with\n${relay.addresses.map((address) => `  mesh start --relay ${address}\n`).join('')}`)
  logger.info({ addresses: relay.addresses }, 'relay ready')
  logger.info({ signal: await signal }, 'stopping')
  await relay.stop()
}

try {
  await run()
} catch (error) {
  process.exitCode = printFatal(error)
}
