import { programOptions } from '../../../shared/program-options.ts'
import { RelayReady } from '../../../shared/schema/ready.ts'
import { defineCommand } from '../command.ts'
import { runSibling } from '../sibling.ts'

export const relay = defineCommand({
  name: 'relay',
  summary: 'run a relay for devices that cannot reach each other directly',
  details:
    'Serves everyone, or with --pool the members of some pools only: they show their certificate first. ' +
    'What it was started with holds the next time, too.',
  needs: ['relay'],
  ...programOptions.relay,
  examples: [
    'mesh relay',
    'mesh relay --pool 3f...c1',
    'mesh relay --host 0.0.0.0 --port 4001 --announce /ip4/203.0.113.7/tcp/4001',
  ],
  service: true,
  json: RelayReady,
  run: (context) => runSibling(context, 'relay'),
})
