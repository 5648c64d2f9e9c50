/** The control plane as a process: `mesh control-plane` starts it. With --json it prints one line of JSON when it is ready. */
import type { AddressInfo } from 'node:net'
import { parseArgs } from 'node:util'
import { MeshError } from '../shared/errors.ts'
import { ownControlPlaneKey } from '../shared/identity/control-plane-key.ts'
import { jsonWanted, printFatal } from '../shared/fatal.ts'
import { lockFolder } from '../shared/folder-lock.ts'
import { controlPlaneFolder, openHome } from '../shared/home.ts'
import { Lifecycle, untilSignal } from '../shared/lifecycle.ts'
import { listenError } from '../shared/listen-error.ts'
import { createLogger } from '../shared/log.ts'
import { parseProgram } from '../shared/flags.ts'
import type { ProgramValues } from '../shared/program-options.ts'
import { watchOutput } from '../shared/output-watch.ts'
import { jsonLine } from '../shared/printed.ts'
import { ControlPlaneReady } from '../shared/schema/ready.ts'
import { asUrlHost } from '../shared/url-host.ts'
import { limits } from '../shared/limits.ts'
import { buildApp } from './app.ts'
import { wholeShare } from './domain/queue-share.ts'
import { createServices, type Settings } from './service/services.ts'
import { openDatabase } from './store/database.ts'
import { certificateFiles } from './tls/given-certificate.ts'
import { hostNames } from './tls/host-names.ts'
import { isLoopback } from '../shared/loopback.ts'
import { TlsIdentities } from './tls/tls-identities.ts'

/** @throws MeshError `usage` */
const checkRelays = (relays: readonly string[]): readonly string[] => {
  const bad = relays.find((relay) => !/^\/[^/]+\/[^/]+\/tcp\/\d+\/p2p\/\w+$/.test(relay) || relay.length > 500)
  if (bad !== undefined)
    throw new MeshError('usage', {
      problem: `--relay wants the address that mesh relay printed, like /ip4/203.0.113.7/tcp/4001/p2p/12D3KooW..., got "${bad.slice(0, 100)}"`,
    })
  if (relays.length > limits.announcedRelays)
    throw new MeshError('usage', {
      problem: `--relay may be given ${limits.announcedRelays} times, got ${relays.length}`,
    })
  return relays
}

type Options = ProgramValues<'controlPlane'>

const settingsOf = (options: Options): Settings => ({
  heartbeatMs: options.heartbeat,
  leaseMs: options.lease,
  ringGraceMs: options.ringGrace,
  relays: checkRelays(options.relay),
  texts: { keepMs: options.keepText },
  health: { silenceMs: options.loadTimeout },
  credits: {
    settleMs: options.settleAfter,
    windowMs: options.creditWindow,
    graceMs: options.newcomerGrace,
    graceShare: Math.round(options.newcomerShare * wholeShare),
  },
})

/** How programs of this machine reach it: plain HTTP is for addresses that nobody else has. */
const localUrl = ({ address, port }: AddressInfo): string => {
  if (address === '0.0.0.0' || address === '::') return `http://127.0.0.1:${port}`
  return `${isLoopback(address) ? 'http' : 'https'}://${asUrlHost(address)}:${port}`
}

const plainHttpWarning =
  'plain HTTP is served to other machines (--plain-http): what programs send without TLS, API keys and prompts too, can be read and changed on the way'

const readyText = (url: string, key: string, { plainHttp }: Options): string =>
  [
    `control plane runs at ${url}, routes at ${url}/docs; Ctrl-C ends it\n`,
    `its key is ${key}\n`,
    plainHttp ? `warning: ${plainHttpWarning}\n` : '',
  ].join('')

const run = async (): Promise<void> => {
  const options = parseProgram('controlPlane', parseArgs)
  const given = certificateFiles(options)
  const logger = createLogger('control-plane', options.logLevel)
  const home = openHome()
  const ended = Promise.race([untilSignal(), watchOutput().lost]) // before anybody is told that we are ready: the signal may follow at once
  const parts = new Lifecycle()
  const { port } = options
  const folder = options.data === undefined ? home.controlPlane : controlPlaneFolder(options.data)
  const lock = await lockFolder(`${folder.database}.lock`, 'a control plane')
  parts.add({ name: 'data folder', stop: () => lock.release() })
  try {
    const database = openDatabase(folder.database)
    parts.add({ name: 'database', stop: () => database.close() })
    const key = ownControlPlaneKey(folder.key)
    const identities = parts.add(
      await TlsIdentities.open({
        key,
        file: folder.certificate,
        names: () => hostNames(options.host),
        given,
        logger,
        now: Date.now,
      }),
    )
    const services = createServices(database, settingsOf(options), { now: Date.now, logger, key })
    const app = await buildApp(services, logger, { identities, plainHttp: options.plainHttp })
    parts.add({ name: 'http', stop: () => app.close() })
    parts.add({ name: 'services', stop: () => services.stop() })
    try {
      await app.listen({ host: options.host, port })
    } catch (error) {
      throw listenError(error, [`${options.host}:${port}`])
    }
    identities.start()
    const address = app.server.address() as AddressInfo
    const url = localUrl(address)
    process.stdout.write(
      options.json
        ? jsonLine(ControlPlaneReady, { event: 'ready', url, controlPlaneKey: key.id })
        : readyText(url, key.id, options),
    )
    logger.info({ host: address.address, port: address.port, key: key.id }, 'control plane ready')
    if (options.plainHttp) logger.warn(plainHttpWarning)
    logger.info({ signal: await ended }, 'stopping')
  } finally {
    for (const problem of await parts.stop()) logger.warn(problem)
  }
}

try {
  await run()
} catch (error) {
  process.exitCode = printFatal(MeshError.from(error).withHelp('control-plane'), { json: jsonWanted() })
}
