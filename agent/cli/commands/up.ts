import { untilAborted } from '../../../shared/lifecycle.ts'
import { defaultPorts, type OptionValues } from '../../../shared/options.ts'
import { UpReady } from '../../../shared/schema/ready.ts'
import { detach } from '../background.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { confirmChange } from '../confirm-change.ts'
import { hostGroup, identify } from '../host-group.ts'
import { HostServices } from '../host-services.ts'
import { hostOptions } from '../hosting.ts'
import { argumentsOf } from '../option-text.ts'
import { checkNamedModel } from '../serve-pool.ts'
import { claimService } from '../service-record.ts'
import { upText } from '../up-text.ts'

const servicesOf = (
  context: CommandContext,
  values: OptionValues<(typeof hostOptions)[number] | 'logLevel'> & { readonly port: number },
): HostServices =>
  new HostServices({
    home: context.home,
    host: values.host,
    controlPlanePort: values.port,
    relayPort: values.relayPort,
    controlPlane: [
      '--keep-text',
      `${values.keepText}ms`,
      ...argumentsOf(context, ['plainHttp', 'tlsCert', 'tlsKey'], values),
    ],
    agent: ['--discovery', values.discovery, '--backend', values.backend, '--threads', String(values.threads)],
    logLevel: values.logLevel,
    onEvent: (text) => context.stderr.write(`${text}\n`),
  })

export const up = defineCommand({
  name: 'up',
  summary: 'host a group on this machine: control plane, relay and agent, kept running together',
  details:
    'Makes the device and a pool if there are none, serves a model (the bundled one, --model-id, ' +
    'or what this device served before), prints what the other devices run, ' +
    'and works without any other server until Ctrl-C or mesh down. With -d it returns when all of it runs. ' +
    'The relay serves the members of the pools that this device is in when it starts. ' +
    'A part that dies is started again. Logs are in MESHNET_HOME/logs (mesh logs).',
  needs: ['agent', 'relay', 'control-plane'],
  options: [...hostOptions, 'detach', 'json'],
  defaults: { host: '0.0.0.0', port: defaultPorts.controlPlane },
  examples: [
    'mesh up',
    'mesh up -d',
    'mesh up --name Desktop --model-id llama --model-dir ~/models/llama',
    'mesh up --port 9000 --relay-port 9001',
  ],
  service: true,
  json: UpReady,
  run: async (context, values) => {
    const show = (info: UpReady): void => {
      if (values.json) context.printJson(info)
      else context.stdout.write(upText(context, info, values.detach))
    }
    if (values.detach && context.background === undefined)
      return await detach(context, { command: 'up', args: ['up', ...context.rawArguments], show })
    const identity = identify(context, values)
    if (identity.before) await confirmChange(context, identity.before.config, identity.config, values.yes)
    await checkNamedModel(context, values)
    const claim = await claimService(context, 'up')
    const services = servicesOf(context, values)
    try {
      const info = await hostGroup(context, services, identity, values)
      show(info)
      claim.ready(info)
      await untilAborted(context.signal)
    } finally {
      for (const problem of await services.stop()) context.stderr.write(`${problem}\n`)
      claim.release()
    }
  },
})
