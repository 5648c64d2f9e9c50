import { defaultPorts } from '../../../shared/options.ts'
import { defineCommand } from '../command.ts'
import { runSibling } from '../sibling.ts'

export const relay = defineCommand({
  name: 'relay',
  summary: 'run a relay for devices that cannot reach each other directly',
  options: ['host', 'port', 'data', 'announce', 'maxReservations', 'json'],
  defaults: { port: defaultPorts.relay },
  examples: ['mesh relay', 'mesh relay --host 0.0.0.0 --port 4001 --announce /ip4/203.0.113.7/tcp/4001'],
  service: true,
  run: (context) => runSibling(context, 'relay'),
})
