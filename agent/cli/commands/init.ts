import { Type } from 'typebox'
import { MeshError } from '../../../shared/errors.ts'
import { shortId } from '../../../shared/ids.ts'
import { Hex64, Name } from '../../../shared/schema/common.ts'
import { registerDevice } from '../../device/control-plane.ts'
import {
  defaultControlPlaneUrl,
  findDevice,
  parseControlPlaneUrl,
  readCapabilities,
  saveDevice,
} from '../../device/device.ts'
import { defineCommand } from '../command.ts'
import { confirmChange } from '../confirm-change.ts'
import { fields } from '../render.ts'
import { checkName, clientOf, controlPlaneKeyIn, ifReachable } from '../session.ts'

export const init = defineCommand({
  name: 'init',
  summary: 'set this device up: make its key, remember network, name and control plane',
  details:
    'Repeating it is harmless; before another name or control plane replaces the old one it asks, ' +
    'or wants --yes. The key is never replaced.',
  options: ['networkId', 'name', 'controlPlane', 'controlPlaneKey', 'yes', 'json'],
  required: ['networkId', 'name'],
  examples: [
    'mesh init --network-id home --name "My laptop"',
    'mesh init --network-id home --name "Desktop" --control-plane https://192.168.1.20:8080',
  ],
  json: Type.Object({
    deviceId: Hex64,
    networkId: Name,
    name: Name,
    controlPlane: Type.String(),
    controlPlaneKey: Type.Optional(Hex64),
    registered: Type.Boolean({ description: 'false: no control plane answered; the agent registers the device later' }),
    home: Type.String(),
    created: Type.Boolean(),
  }),
  run: async (context, values) => {
    const { home } = context
    const before = findDevice(home)
    if (before !== undefined && before.config.networkId !== values.networkId)
      throw new MeshError('alreadyInitialised', { ...before.config, home: home.root })
    const controlPlaneUrl = parseControlPlaneUrl(
      values.controlPlane ?? before?.config.controlPlaneUrl ?? defaultControlPlaneUrl,
    )
    // at another address may be another one: it is met for the first time
    const known = before?.config.controlPlaneUrl === controlPlaneUrl ? before.config.controlPlaneKey : undefined
    const config = {
      networkId: checkName('--network-id', values.networkId),
      name: checkName('--name', values.name),
      controlPlaneUrl,
      controlPlaneKey: controlPlaneKeyIn(values) ?? known,
    }
    if (before !== undefined) await confirmChange(context, before.config, config, values.yes)
    const device = saveDevice(home, config)
    const client = clientOf(context, device)
    const result = await ifReachable(registerDevice(client, device, readCapabilities()))
    const registered = 'answer' in result
    if (values.json) {
      context.printJson({
        ...device.config,
        controlPlaneKey: client.controlPlaneKey,
        deviceId: device.deviceId,
        controlPlane: client.url,
        registered,
        home: home.root,
        created: before === undefined,
      })
      return
    }
    context.stdout.write(
      fields(
        [
          ['device', `${device.config.name} (${shortId(device.deviceId)})`],
          ['device id', device.deviceId],
          ['network', device.config.networkId],
          ['control plane', registered ? `${client.url} (registered)` : client.url],
          ['home', home.root],
        ],
        context.stdout.columns,
      ),
    )
    if (!registered)
      context.stdout.write(`no control plane answers there yet: mesh start will register this device when it does\n`)
  },
})
