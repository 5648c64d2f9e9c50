import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { type Home, writeState } from '../../../shared/home.ts'
import { type OptionName, optionRecord, type OptionValues } from '../../../shared/options.ts'
import { formatDuration } from '../../../shared/words.ts'
import { findDevice, loadDevice } from '../../device/device.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { argumentsOf } from '../option-text.ts'
import { fields } from '../render.ts'
import { agentOptions } from '../run-agent.ts'
import { commandText, runAll } from '../service-manager.ts'
import { serviceOfHome } from '../service-of-home.ts'
import { findService } from '../service-record.ts'
import { poll } from '../session.ts'
import { hostOptions } from '../hosting.ts'

/** Milliseconds that the service may take from its start until it is ready. */
const readyMs = 60_000

const passedOn = { up: hostOptions, start: agentOptions } as const
const allPassedOn = [
  ...hostOptions,
  ...agentOptions.filter((name) => !(hostOptions as readonly OptionName[]).includes(name)),
] as const

/** `mesh up` where a group was hosted from this home, else the agent alone. @throws MeshError `notInitialised` */
const commandFor = (home: Home, wanted: string | undefined): 'up' | 'start' => {
  if (wanted === 'up') return 'up'
  const hosts = findDevice(home) !== undefined && existsSync(home.controlPlane.database)
  if (wanted === undefined && hosts) return 'up'
  loadDevice(home)
  return 'start'
}

/** @throws MeshError `usage` for an option of the other command */
const argumentsFor = (
  context: CommandContext,
  command: 'up' | 'start',
  values: OptionValues<(typeof allPassedOn)[number] | 'logLevel'>,
): string[] => {
  const names: readonly OptionName[] = passedOn[command]
  const wrong = allPassedOn.find((name) => context.isGiven(name) && !names.includes(name))
  if (wrong !== undefined)
    throw new MeshError('usage', {
      problem: `${optionRecord(wrong).flag} is no option of mesh ${command}, which the service runs`,
    })
  // the service runs in another folder
  const modelDir = values.modelDir === undefined ? undefined : resolve(values.modelDir)
  return [command, ...argumentsOf(context, [...passedOn[command], 'logLevel'], { ...values, modelDir })]
}

export const serviceInstall = defineCommand({
  name: 'service-install',
  summary: 'let the system start Mesh by itself: mesh up or mesh start as a service (also: mesh service install)',
  details:
    'Writes the file of a systemd unit (Linux), a launchd agent (macOS) or a scheduled task (Windows) ' +
    'and tells the system to start it, now and from now on: with the login of this user, ' +
    'with --system with the machine. It runs mesh up where a group was hosted from this MESHNET_HOME, ' +
    'else mesh start, unless one of them is named; options of that command go to it. ' +
    'It is started again when it fails; mesh down stops it until the next start. ' +
    '--print shows the file and changes nothing.',
  needs: ['agent'],
  options: ['serviceCommand', 'system', 'print', ...allPassedOn, 'json'],
  bare: 'serviceCommand',
  examples: [
    'mesh service-install',
    'mesh service-install up --port 9000',
    'mesh service-install --system',
    'mesh service-install --print',
  ],
  json: Type.Object({
    manager: Type.String(),
    file: Type.String(),
    content: Type.String(),
    command: Type.String({ description: 'what the service runs' }),
    installed: Type.Boolean({ description: 'false with --print' }),
  }),
  run: async (context, values) => {
    const { home, stdout } = context
    const args = argumentsFor(context, commandFor(home, values.serviceCommand), values)
    const plan = serviceOfHome(home, { args, system: values.system })
    const answer = { ...plan, command: commandText(['mesh', ...args]), installed: !values.print }
    if (values.print) {
      if (values.json) context.printJson(answer)
      else stdout.write(plan.content.replace(/^\uFEFF/, ''))
      return
    }
    const running = findService(home)
    if (running) throw new MeshError('agentAlreadyRunning', { home: home.root, pid: running.pid })
    writeState(plan.file, Buffer.from(plan.content, plan.encoding))
    runAll(plan.install, plan)
    const service = await poll(async () => (findService(home)?.info === undefined ? undefined : findService(home)), {
      waitMs: readyMs,
      everyMs: 200,
      context,
    })
    if (service === undefined)
      throw new MeshError('processEnded', {
        name: 'the service',
        how: `not ready within ${formatDuration(readyMs)}`,
        problem: 'mesh logs shows why',
      })
    if (values.json) context.printJson(answer)
    else
      stdout.write(
        `${fields(
          [
            ['service', plan.file],
            ['runs', `${answer.command}, process ${service.pid}`],
          ],
          stdout.columns,
        )}${plan.note === undefined ? '' : `${plan.note}\n`}` +
          'mesh logs shows what it does, mesh service remove ends and removes it\n',
      )
  },
})
