-- One row is a delivery rider; each change of the file adds a version.
select
    rider_id,
    rider_name,
    rider_phone,
    rider_vehicle_type,
    vehicle_id,
    rider_rating
from file
