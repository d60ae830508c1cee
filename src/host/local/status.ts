/** The broker's first byte to a caller: what qrexec-client-vm would exit with; 0 when the stream follows. */
export const exitCodes = { connected: 0, failed: 125, refused: 126, noService: 127 } as const
