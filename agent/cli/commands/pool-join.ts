import { Type } from 'typebox'
import { Hex64, Name, Time } from '../../../shared/schema/common.ts'
import { Role } from '../../../shared/schema/pool.ts'
import { defaultControlPlaneUrl, loadDevice, saveDevice } from '../../device/device.ts'
import { defineCommand } from '../command.ts'
import { firstThatAnswers, inviteTarget, joinPool, namedTarget } from '../join-pool.ts'
import { inviteLine } from '../passphrase.ts'
import { fields, validity } from '../render.ts'
import { controlPlaneKeyIn, openSession } from '../session.ts'

export const poolJoin = defineCommand({
  name: 'pool-join',
  summary: 'join a pool that another device made: by invite, or by asking its admins',
  details:
    'With an invite, the agent of the device that made it must be running (mesh start). Without one, ' +
    'an admin answers by hand (mesh pool-approve). The certificate is checked here. ' +
    'mesh join does this and all the rest that a new device needs.',
  options: ['invite', 'poolId', 'poolRootPubkey', 'name', 'wait', 'controlPlane', 'controlPlaneKey', 'json'],
  examples: [
    'mesh pool-join --invite mesh-invite:hgFYI...',
    'mesh pool-join --pool-id 3f...c1 --pool-root-pubkey 9a...07 --wait 5m',
  ],
  json: Type.Object({ poolId: Hex64, name: Name, role: Role, notAfter: Time }),
  run: async (context, values) => {
    const target =
      values.invite === undefined
        ? namedTarget(values)
        : inviteTarget(await inviteLine(context, values.invite), context.now())
    const { config } = loadDevice(context.home)
    // a device that was told of no control plane takes that of the invite, and keeps it once it is let in
    const adopts =
      target.invite !== undefined &&
      values.controlPlane === undefined &&
      config.controlPlaneUrl === defaultControlPlaneUrl
    const invited = target.invite?.controlPlaneKey
    const controlPlaneKey = values.controlPlaneKey ?? (adopts ? invited : (config.controlPlaneKey ?? invited))
    const found =
      adopts && target.invite
        ? await firstThatAnswers(context, target.invite.urls, controlPlaneKeyIn({ controlPlaneKey }))
        : values.controlPlane
    const { device, client } = openSession(context, { controlPlane: found, controlPlaneKey })
    const { pool, notAfter } = await joinPool({ context, client, device, target, waitMs: values.wait }, values.name)
    if (adopts)
      saveDevice(context.home, { ...config, controlPlaneUrl: client.url, controlPlaneKey: client.controlPlaneKey })
    if (values.json) {
      context.printJson({ ...pool, notAfter })
      return
    }
    context.stdout.write(
      fields(
        [
          ['pool', pool.name],
          ['pool id', pool.poolId],
          ['role', pool.role],
          ['valid for', validity(notAfter, context.now())],
        ],
        context.stdout.columns,
      ),
    )
  },
})
