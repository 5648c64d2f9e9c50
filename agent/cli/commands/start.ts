import { AgentReady } from '../../../shared/schema/ready.ts'
import { loadDevice } from '../../device/device.ts'
import { detach } from '../background.ts'
import { defineCommand } from '../command.ts'
import { agentOptions, agentText, runAgent } from '../run-agent.ts'

export const start = defineCommand({
  name: 'start',
  summary: 'run the agent of this device, in the foreground or with -d in the background',
  details:
    'Connects to the control plane (and tries again until it is there), loads its share of each model it serves, ' +
    'and works until Ctrl-C or mesh down. With -d it returns when the agent runs; mesh logs shows what it does.',
  needs: ['agent'],
  options: [...agentOptions, 'detach', 'json'],
  examples: [
    'mesh start',
    'mesh start -d',
    'mesh start --relay /ip4/203.0.113.7/tcp/4001/p2p/12D3KooW...',
    'mesh start --listen /ip4/0.0.0.0/tcp/4100 --threads 4',
  ],
  service: true,
  json: AgentReady,
  run: async (context, values) => {
    loadDevice(context.home)
    const show = (info: AgentReady): void => {
      if (values.json) context.printJson(info)
      else context.stdout.write(agentText(context, info, values.detach))
    }
    if (values.detach && context.background === undefined)
      return await detach(context, { command: 'start', args: ['start', ...context.rawArguments], show })
    await runAgent(context, values, show)
  },
})
