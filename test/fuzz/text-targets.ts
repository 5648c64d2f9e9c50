/** Readers of text: command lines, options, addresses, answers and events of a control plane, files of the system. */
import fc from 'fast-check'
import { Value } from 'typebox/value'
import { allCommands } from '../../agent/cli/commands.ts'
import { followJob } from '../../agent/cli/job-stream.ts'
import { parseSince } from '../../agent/cli/ledger-pages.ts'
import { parseArguments } from '../../agent/cli/parse.ts'
import { decodePrompt } from '../../agent/cli/prompt.ts'
import { relayAt, urlFor } from '../../agent/daemon/control-plane-url.ts'
import { isLoopbackUrl } from '../../shared/control-plane-url.ts'
import { parseControlPlaneUrl } from '../../agent/device/device.ts'
import {
  parseBusySeconds,
  parseCpuList,
  parseUsedSeconds,
  parseWaitedSeconds,
  readAllowedCpus,
  readCpuQuotas,
  readPhysicalCores,
} from '../../agent/device/cpu-sources.ts'
import { readLinuxBounds } from '../../agent/device/memory.ts'
import { parseMeminfo, parseOwnBytes, parseProcessTree, parseVmStat } from '../../agent/device/memory-sources.ts'
import { ipOf, withoutPeerId } from '../../shared/peer-address.ts'
import { dialableAddresses, listenedOn } from '../../agent/network/dialable.ts'
import { householdOf } from '../../shared/household.ts'
import { createClient } from '../../shared/api/client.ts'
import { type RouteName, routes, type RouteRecord } from '../../shared/api/routes.ts'
import { MeshError } from '../../shared/errors.ts'
import { apiKeyIdIn } from '../../shared/identity/api-key.ts'
import { parseControlPlaneId, parseDeviceId, parseDigits, parsePoolId } from '../../shared/ids.ts'
import { logText, parseLogLine } from '../../shared/log-text.ts'
import { optionTable, type OptionName, readOptions } from '../../shared/options.ts'
import { ErrorAnswer, ErrorReportSchema } from '../../shared/schema/common.ts'
import { JobEvent, JobWaiting } from '../../shared/schema/job.ts'
import { parseBytes, parseDuration } from '../../shared/units.ts'
import { damagedBytes, damagedText, hostile } from './edits.ts'
import { outcomeOf } from './refusal.ts'
import { anyTarget, type Target } from './run-cases.ts'
import { words } from './wire-targets.ts'

const now = Date.UTC(2026, 0, 2)
const line = fc.string({ unit: 'binary', maxLength: 60 })
/** Numbers with units, dates and things like them. */
const amount = fc
  .tuple(fc.oneof(fc.integer(), fc.double()).map(String), fc.constantFrom('', 'GB', 'MiB', 'h', 'd', ' ms', 'x', '/0'))
  .map((parts) => parts.join(''))
const address = fc.oneof(
  fc
    .tuple(
      fc.constantFrom('/ip4/', '/ip6/', '/dns4/', '/p2p/', '//', '/ip4/0.0.0.0/tcp/4001', ''),
      fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain(), line),
      fc.constantFrom('', '/tcp/1', '/tcp/99999', '/udp/1/quic-v1', '/p2p/x', '/p2p-circuit'),
    )
    .map((parts) => parts.join('')),
  fc.webUrl(),
  line,
)
const inputs = fc.oneof(amount, address, fc.constantFrom(...words), line)

/** Small readers of one text each, by name. */
const readers: Readonly<Record<string, (text: string) => unknown>> = {
  sizes: parseBytes,
  durations: parseDuration,
  'ages and dates': (text) => parseSince(text, now),
  'first digits of ids': (text) => parseDigits(text, { flag: '--pool-id', noun: 'pool', list: 'mesh pool-list' }),
  'ids of devices': parseDeviceId,
  'ids of pools': parsePoolId,
  'ids of control planes': parseControlPlaneId,
  'ids in API keys': apiKeyIdIn,
  'addresses of control planes': (text) => [parseControlPlaneUrl(text), isLoopbackUrl(text), urlFor(text, 'host')],
  'addresses of relays': (text) => relayAt(text, 'http://192.0.2.1:8080'),
  'addresses of devices': (text) => [
    ipOf(text),
    withoutPeerId(text),
    dialableAddresses([text], [text]),
    listenedOn(text, [text]),
  ],
  'households of addresses': householdOf,
}

const readerTargets = Object.entries(readers).map(([name, read]): Target =>
  anyTarget({
    name,
    cases: name === 'addresses of control planes' ? fc.oneof(fc.webUrl(), inputs) : inputs,
    run: (text) => outcomeOf(() => read(text)),
  }),
)

const logLine = hostile(ErrorReportSchema).map(
  (value) => JSON.stringify({ level: 30, time: now, name: 'agent', msg: 'x', value }) ?? '',
)
const meminfo = fc.constant('MemTotal:       8000000 kB\nMemFree:  10 kB\nMemAvailable:    4000000 kB\n')
const stat = fc.constant('cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 1 2 3 4 5 6 7 8 9 10\n')

/** What the system tells, in the forms of other systems and other years. */
const systemTarget = anyTarget({
  name: 'files of the system',
  cases: damagedText(
    fc.oneof(
      meminfo,
      stat,
      fc.constant('0-3,5\n'),
      fc.constant('200000 100000\n'),
      fc.constant('1 (a) b) S 1 1 1 0 -1 4194560 1 0 0 0 5 5 0 0 20 0 1 0 1 1 1\n'),
      fc.constant('0::/user.slice\n'),
    ),
  ),
  run: (text) =>
    outcomeOf(() => {
      const read = (): string => text
      return [
        parseMeminfo(text),
        parseVmStat(text),
        parseOwnBytes(text),
        parseProcessTree(text, 1),
        parseCpuList(text.slice(0, 100)),
        parseBusySeconds(text, [0, 1]),
        parseUsedSeconds(text),
        parseWaitedSeconds(text),
        readLinuxBounds(read, { source: 'x', limitBytes: 1 }),
        readAllowedCpus(read),
        readPhysicalCores(read, [0]),
        readCpuQuotas(read),
      ]
    }),
})

const optionNames = Object.keys(optionTable) as OptionName[]
const optionTarget = anyTarget({
  name: 'options',
  cases: fc.tuple(
    fc.constantFrom(...optionNames),
    fc.oneof(inputs, fc.constantFrom('1', '0', '-1', '10s', '7GB', 'auto')),
    fc.boolean(),
  ),
  run: ([name, text, asList]) => outcomeOf(() => readOptions([name], { [name]: asList ? [text, text] : text }, {})),
})

const commands = await allCommands()
const word = fc.oneof(
  fc.constantFrom(...commands.map(({ name }) => name)),
  fc.constantFrom(...optionNames.map((name) => optionTable[name].flag as string)),
  fc.constantFrom('--', '-h', '-V', '--yes', '=', 'help'),
  inputs,
)
const commandTarget = anyTarget({
  name: 'command lines',
  cases: fc.array(word, { maxLength: 6 }),
  run: (typed) => outcomeOf(() => parseArguments(commands, typed)),
})

const json = (values: fc.Arbitrary<unknown>): fc.Arbitrary<string> => values.map((value) => JSON.stringify(value) ?? '')
const event = fc
  .tuple(
    fc.constantFrom('data: ', 'data:', 'event: x\ndata: ', ': ', 'id: 1\nretry: 9\ndata: '),
    json(fc.oneof(hostile(JobEvent, words), hostile(JobWaiting, words))),
    fc.constantFrom('\n\n', '\n', '\r\n\r\n'),
  )
  .map((parts) => parts.join(''))
const eventTarget = anyTarget({
  name: 'events of a job',
  cases: damagedBytes(fc.array(event, { minLength: 1, maxLength: 5 }).map((parts) => Buffer.from(parts.join('')))),
  run: (bytes) =>
    outcomeOf(async () => {
      const fetchIt = (): Promise<Response> => Promise.resolve(new Response(new Uint8Array(bytes)))
      const client = createClient({ url: 'http://127.0.0.1:1', apiKey: 'x', fetch: fetchIt })
      let count = 0
      // a stream that ended would be asked for again; here the control plane counts as gone at once
      for await (const one of followJob({
        client,
        poolId: words[0],
        jobId: 'job_1',
        signal: AbortSignal.timeout(2000),
        absenceMs: -1,
        now: () => now,
      }))
        count += JSON.stringify(one).length
      return count
    }),
})

const routeNames = Object.keys(routes) as RouteName[]
/** A control plane that answers whatever it likes. */
const answerTarget = anyTarget({
  name: 'answers of a control plane',
  cases: fc.constantFrom(...routeNames).chain((name) => {
    const { answer }: RouteRecord = routes[name]
    return fc.record({
      name: fc.constant(name),
      status: fc.constantFrom(200, 200, 200, 204, 302, 400, 404, 500, 503),
      body: damagedText(json(fc.oneof(hostile(answer ?? ErrorAnswer, words), hostile(ErrorAnswer, words)))),
    })
  }),
  run: ({ name, status, body }) =>
    outcomeOf(async () => {
      const client = createClient({
        url: 'http://127.0.0.1:1',
        apiKey: 'x',
        fetch: () => Promise.resolve(new Response(status === 204 ? null : body, { status })),
      })
      await client.call(name as 'getDevice', { params: { poolId: words[0], jobId: 'x', keyId: 'x' } } as never)
    }).catch((error: unknown) => {
      // an error of a code that this version does not know stands for itself
      if (error instanceof MeshError && error.code === 'internal') return 'unknown error'
      throw error
    }),
})

export const textTargets: readonly Target[] = [
  ...readerTargets,
  systemTarget,
  optionTarget,
  commandTarget,
  eventTarget,
  answerTarget,
  anyTarget({
    name: 'lines of a log',
    cases: damagedText(logLine),
    run: (text) => outcomeOf(() => logText(parseLogLine(text), { colour: false })),
  }),
  anyTarget({
    name: 'prompts',
    cases: damagedBytes(line.map((text) => Buffer.from(text))),
    run: (bytes) => outcomeOf(() => decodePrompt(bytes, 'standard input')),
  }),
  anyTarget({
    name: 'errors of others',
    cases: hostile(ErrorReportSchema),
    run: (value) =>
      outcomeOf(() =>
        Value.Check(ErrorReportSchema, value) ? MeshError.fromReport(MeshError.cleanReport(value)) : undefined,
      ),
  }),
]
