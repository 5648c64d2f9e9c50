/**
 * The name that devices ask for in TLS (SNI), whatever the address: by it the control plane shows the certificate of
 * its own key, also where browsers are shown another one. Nobody owns it and nothing resolves it (RFC 8244).
 */
export const deviceServerName = 'control-plane.mesh.internal'
