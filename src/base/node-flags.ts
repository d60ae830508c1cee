/** Of every process of a service: SIGUSR1 must not open Node's debugger, by which anyone who reaches it reads all memory. */
export const serviceNodeFlags = ['--disable-sigusr1'] as const
