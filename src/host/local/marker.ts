/** Present in the environment of a sandbox only; its program refuses to start without. */
export const sandboxMarker = 'STRONGROOM_SANDBOX'
