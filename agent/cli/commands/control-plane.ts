import { programOptions } from '../../../shared/program-options.ts'
import { ControlPlaneReady } from '../../../shared/schema/ready.ts'
import { defineCommand } from '../command.ts'
import { runSibling } from '../sibling.ts'

export const controlPlane = defineCommand({
  name: 'control-plane',
  summary: 'run the control plane: one for a group, on a machine that all can reach',
  needs: ['control-plane'],
  ...programOptions.controlPlane,
  examples: [
    'mesh control-plane',
    'mesh control-plane --host 0.0.0.0 --port 8080',
    'mesh control-plane --host 0.0.0.0 --tls-cert fullchain.pem --tls-key privkey.pem',
  ],
  service: true,
  json: ControlPlaneReady,
  run: (context) => runSibling(context, 'controlPlane'),
})
