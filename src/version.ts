/** The program's version, as in package.json (a test compares them), and the control protocol's. */
export const version = '0.1.0';
