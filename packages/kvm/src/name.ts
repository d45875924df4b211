/** The name of the driver, as errors and `createManager` know it. */
export const DRIVER = 'kvm'
